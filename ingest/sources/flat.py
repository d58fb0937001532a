"""A short way for the usual request: one flat JSON object in ASCII, whose fields need no change.

It gives the same event as `Mapper.translate`, and nothing for every other body.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ingest.errors import Invalid, Malformed
from ingest.events.call_event import CALL_ENDED, Duration, Text64, Text128, Text255, Timestamp
from ingest.events.event import Event, check_payload
from ingest.sources.form import Form
from ingest.sources.values import now

_TYPES = {"call_id": Text255, "from_number": Text128, "to_number": Text128, "event_type": Text64}
NOWHERE = "\u00a0"
"""The begin of a name that no ASCII object has."""
_BACKSLASH, _BRACKET = ord("\\"), ord("[")

_encode = msgspec.json.Encoder().encode
_check_time = msgspec.json.Decoder(Timestamp).decode


class Flat(NamedTuple):
    event: Event
    has_time: bool


class FlatMapper:
    """Decodes the fields of a form in one pass."""

    def __init__(self, name: str, form: Form) -> None:
        self._client = f',"client":"{name}","original":'
        self._event_types = {value: (known, _encode(known).decode()) for value, known in form.event_types.items()}
        fields: list[Any] = list(_TYPES.items())
        fields += [("timestamp", msgspec.Raw, msgspec.Raw()), ("duration", Duration | None, None)]
        names = {field: getattr(form.fields, field) or NOWHERE + field for field, *_ in fields}
        struct = msgspec.defstruct("FlatFields", fields, rename=names, gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(struct).decode

    def event(self, body: bytes) -> Flat | None:
        """Return None for a body that needs the long way."""
        body = body.strip()
        if not body.isascii() or _BACKSLASH in body or _BRACKET in body or body.rfind(b"{") > 0:
            return None
        try:
            found = self._decode(body)
            if found.timestamp:
                _check_time(found.timestamp)
            check_payload(body)
        except (msgspec.MsgspecError, Invalid, Malformed):
            return None
        for text in (found.call_id, found.from_number, found.to_number, found.event_type):
            if text.strip() is not text:
                return None
        event_type, written_type = self._event_types.get(found.event_type) or (
            found.event_type,
            f'"{found.event_type}"',
        )
        time = bytes(found.timestamp).decode() if found.timestamp else f'"{now()}"'
        written = (
            f'{{"call_id":"{found.call_id}","from_number":"{found.from_number}","to_number":"{found.to_number}"'
            f',"event_type":{written_type},"timestamp":{time}'
        )
        if found.duration is not None or event_type == CALL_ENDED:
            written += f',"duration":{found.duration or 0}'
        written += self._client
        return Flat(Event(found.call_id, event_type, b"%b%b}" % (written.encode(), body)), bool(found.timestamp))


def flat_mapper(name: str, form: Form) -> FlatMapper | None:
    """Return None if the form needs more than a flat object gives."""
    paths = [path for field in form.fields.__struct_fields__ if (path := getattr(form.fields, field))]
    are_flat = all(isinstance(path, str) and path.isidentifier() for path in paths)
    if (
        not are_flat
        or len({*paths}) < len(paths)
        or form.time.formats != ("rfc3339",)
        or form.body != type(form.body)()
    ):
        return None
    return FlatMapper(name, form)

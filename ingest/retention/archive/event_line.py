"""One event as a line of an archive: a JSON object with the columns of its row."""

from collections.abc import Mapping

import msgspec

ID_PLACES = 20


class ArchivedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of `call_event_logs`. `id` is decimal: programs that read JSON numbers as doubles would round it.

    `created_time` is RFC 3339 in UTC with microseconds; None if the column is NULL. `payload` is the JSON that the
    database keeps. `columns` are those that a user added to the table.
    """

    id: str
    call_id: str
    event_type: str
    created_time: str | None
    payload: msgspec.Raw
    columns: Mapping[str, object] = {}

    @property
    def event_id(self) -> int:
        return int(self.id)

    @property
    def payload_bytes(self) -> bytes:
        """The payload as the database keeps it, except that blanks stand for line breaks between its parts."""
        return bytes(self.payload)


_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.Decoder(ArchivedEvent).decode
_BREAKS = bytes.maketrans(b"\r\n", b"  ")
"""JSON has line breaks only between its parts, where a blank means the same."""


def line_of(
    event_id: int,
    call_id: str,
    event_type: str,
    created_time: str | None,
    payload: str,
    columns: Mapping[str, object] | None = None,
) -> bytes:
    """Return the event as one line, with its line break. The line is decoded once, so a reader can decode it.

    Raises `ValueError` if the payload is no JSON.
    """
    raw = msgspec.Raw(payload.encode().translate(_BREAKS))
    line = _encode(ArchivedEvent(str(event_id), call_id, event_type, created_time, raw, columns or {}))
    _decode(line)  # a payload that is no JSON would spoil the line; ValidationError is a ValueError
    return line + b"\n"


def event_of(line: bytes) -> ArchivedEvent:
    """Raises `ValueError` if the line is no event."""
    return _decode(line)

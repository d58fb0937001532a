"""FreeSWITCH: mod_json_cdr and mod_format_cdr post a record at the end of each call.

The body is JSON or XML, either plain or after `cdr=`. There it is plain, percent-encoded or Base64. The values of the
variables are percent-encoded unless the module's configuration turns that off.
"""

import base64
import binascii
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ingest.errors import Malformed
from ingest.sources.base import (
    CALL_ENDED,
    UNKNOWN,
    Call,
    Posted,
    Unsigned,
    json_object,
    now,
    of_unix_seconds,
    text,
    whole,
)
from ingest.sources.forms import field, is_json, query_value
from ingest.sources.xml import tree

FIELD = "cdr"
LEG_PREFIX = "a_"
"""mod_format_cdr can put this prefix before the uuid of a call's first leg (`prefix-a-leg`)."""


class FreeSwitch(Unsigned):
    name = "freeswitch"
    status = 200

    def calls(self, posted: Posted) -> Sequence[Call]:
        record = _record(posted.body)
        if is_json(record):
            found = json_object(record)
            variables, profile = found.get("variables"), _profile(found.get("callflow"))
            original: Any = msgspec.Raw(record)
        else:
            original, parsed = record.decode(errors="replace"), tree(record)
            variables = parsed.get("variables")
            profile = _mapping(_mapping(parsed.get("callflow")).get("caller_profile"))
        return [_call(_mapping(variables), profile, posted, original)]


def _record(body: bytes) -> bytes:
    """Unwrap the record. Raises `Malformed`."""
    body = body.strip()
    value = field(body, FIELD)
    if value is None:
        return body
    if value[:1] in (b"{", b"<"):
        return value
    if value[:1] == b"%":
        return urllib.parse.unquote_to_bytes(value.replace(b"+", b" "))
    try:
        return base64.b64decode(urllib.parse.unquote_to_bytes(value), validate=True)
    except binascii.Error as exc:
        raise Malformed("The field cdr is not JSON or XML, either plain, percent-encoded or in Base64.") from exc


def _call(variables: Mapping[str, Any], profile: Mapping[str, Any], posted: Posted, original: Any) -> Call:
    def value(*names: str) -> str | None:
        for name in names:
            for fields in (variables, profile):
                if found := text(fields.get(name)):
                    return urllib.parse.unquote(found)
        return None

    uuid = value("uuid") or query_value(posted.query, "uuid")
    ended = value("end_epoch", "end_stamp_epoch")
    return Call(
        call_id=uuid.removeprefix(LEG_PREFIX) if uuid else None,
        from_number=value("caller_id_number", "sip_from_user", "effective_caller_id_number") or UNKNOWN,
        to_number=value("destination_number", "sip_to_user", "dialed_user") or UNKNOWN,
        event_type=CALL_ENDED,
        timestamp=of_unix_seconds(whole(ended)) or now(),
        duration=whole(value("billsec") or value("duration")) or 0,
        source=FreeSwitch.name,
        original=original,
    )


def _profile(callflow: Any) -> Mapping[str, Any]:
    """Return the caller profile of the first call flow. Newer versions send a list of call flows."""
    first = callflow[0] if isinstance(callflow, list) and callflow else callflow
    return _mapping(_mapping(first).get("caller_profile"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

"""Decodes and validates one call event: bytes in, `Event` or a `Rejected` error out.

An accepted event costs one pass of msgspec over the bytes. Only a refused body is read again, to report all its errors.
"""

from codecs import BOM_UTF8
from datetime import tzinfo

import msgspec

from ingest.errors import Invalid, Malformed
from ingest.events.call_event import CALL_ENDED, CallEvent
from ingest.events.field_errors import explain
from ingest.events.json_limits import BIG_E, EXPONENT, LONG_DIGITS, TOO_DEEP, is_too_deep, problem
from ingest.events.local_times import write_offset


class Event(msgspec.Struct, gc=False, array_like=True):
    """A valid event: two fields that have columns of their own, and the JSON as received (UTF-8).

    `key` is the idempotency key (`ingest.events.idempotency`). `headers` are those of the message
    (`ingest.events.headers`). Events packed by older versions end before one of them.
    """

    call_id: str
    event_type: str
    payload: bytes
    key: bytes | None = None
    headers: dict[str, str] | None = None


_BRACKET, _BACKSLASH = ord("["), ord("\\")
"""Looking for a number takes an eighth of the time of looking for bytes."""
_COLONS = 7
"""Colons of the five required keys and of a timestamp. A body with no more, and no escapes, has no other field."""

_decode_event = msgspec.json.Decoder(CallEvent).decode


def decode(body: bytes, zone: tzinfo | None = None) -> Event:
    """Return the event in `body` (UTF-8 JSON, one object). A byte order mark before it is no part of the event.

    A timestamp without an offset gets the one of `zone`; without a zone it is refused.

    Raises `Malformed` (not JSON, not UTF-8, nested too deep) or `Invalid`: with all errors of all fields, or for JSON
    that a database refuses.
    """
    try:
        event = _decode_event(body)
        if not body.isascii():
            body.decode()  # msgspec does not look into strings it skips
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        body = body.removeprefix(BOM_UTF8)
        if zone:
            body = write_offset(body, zone)
        event = explain(body)
        check_payload(body)
    if event.event_type == CALL_ENDED and event.duration is None:
        raise Invalid({"duration": ["The duration field is required when event type is call_ended."]})
    if body.count(b":") > _COLONS + (event.duration is not None) or _BACKSLASH in body:
        check_payload(body)
    return Event(event.call_id, event.event_type, body)


def check_payload(body: bytes) -> None:
    """Check for JSON that only fields unknown to the service can hold. Raises `Malformed` or `Invalid`."""
    if (body.rfind(b"{") > 0 or _BRACKET in body) and is_too_deep(body):
        raise Malformed(TOO_DEEP)
    if (BIG_E in body or EXPONENT(body) or len(body) > LONG_DIGITS) and (wrong := problem(body)):
        raise Invalid({"payload": [wrong]})

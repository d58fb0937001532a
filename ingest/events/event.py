"""Decode and validate one call event. Pure: bytes in, `Event` or a `Rejected` error out.

The common case is one pass of msgspec over the bytes. Only a refused body is read a second
time, to report all of its errors at once.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from ingest.errors import Invalid, Malformed
from ingest.events.json_limits import BIG_E, EXPONENT, LONG_DIGITS, problem

JSON_DEPTH_MAX = 31
"""Levels of nesting. MariaDB's JSON_VALID() refuses more than 31 (MySQL's limit is 100)."""

DURATION_SECONDS_MAX = 2**31 - 1
LENGTHS_MAX = {"call_id": 255, "from_number": 128, "to_number": 128, "event_type": 64}
"""Characters a field may have; the table's columns have the same widths."""
TOO_DEEP = f"The body is nested deeper than {JSON_DEPTH_MAX} levels."

CALL_ENDED = "call_ended"

Text255 = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Text128 = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Text64 = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
Duration = Annotated[int, msgspec.Meta(ge=0, le=DURATION_SECONDS_MAX)]


class CallEvent(msgspec.Struct, gc=False):
    """The fields the service knows; any others are kept in the payload."""

    call_id: Text255
    from_number: Text128
    to_number: Text128
    event_type: Text64
    timestamp: Timestamp
    duration: Duration | None = None


class Event(msgspec.Struct, gc=False, array_like=True):
    """A valid event: the two columns of its own, and the JSON exactly as received (UTF-8).

    `key` tells a repeat, see `ingest.events.idempotency`; `headers` are its message's, see `ingest.events.headers`.
    What older versions
    packed ends before the one or the other.
    """

    call_id: str
    event_type: str
    payload: bytes
    key: bytes | None = None
    headers: dict[str, str] | None = None


_BRACKET, _BACKSLASH = ord("["), ord("\\")
"""Looking for a number takes an eighth of the time of looking for bytes."""
_COLONS = 7
"""Of the five keys that are required, and a timestamp's two: with no more, and no escapes, there is no other field."""

_decode_event = msgspec.json.Decoder(CallEvent).decode
_decode_any = msgspec.json.Decoder().decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode(body: bytes) -> Event:
    """The event in `body` (UTF-8 JSON, one object).

    Raises `Malformed` (not JSON, not UTF-8, nested deeper than `JSON_DEPTH_MAX`) or `Invalid`
    (every wrong field, with every error of it; or the payload, where a database would not take its JSON).
    """
    try:
        event = _decode_event(body)
        if not body.isascii():
            body.decode()  # msgspec does not look into strings it skips
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        event = _explain(body)
        _check_payload(body)
    if event.event_type == CALL_ENDED and event.duration is None:
        raise Invalid({"duration": ["The duration field is required when event type is call_ended."]})
    if body.count(b":") > _COLONS + (event.duration is not None) or _BACKSLASH in body:
        _check_payload(body)
    return Event(event.call_id, event.event_type, body)


def _explain(body: bytes) -> CallEvent:
    """Read a refused body again, slowly; returns only if it was valid after all (a leap second)."""
    document = _document(body)
    errors = field_errors(document)
    if errors:
        raise Invalid(errors)
    texts = {field: document[field] for field in LENGTHS_MAX}
    return CallEvent(**texts, timestamp=datetime.min, duration=document.get("duration"))


def _document(body: bytes) -> dict[str, Any]:
    """The fields that the service knows; of the others, as when an event is accepted, no value is looked at."""
    if not body.strip():
        raise Malformed("The body is empty; it must be one JSON object.")
    try:
        body.decode()
        if not isinstance(fields := _fields(body), dict):
            raise Malformed("The body must be one JSON object.")
    except UnicodeDecodeError as exc:
        raise Malformed(f"The body is not valid UTF-8 (byte {exc.start}).") from exc
    except RecursionError as exc:
        raise Malformed(TOO_DEEP) from exc
    except msgspec.MsgspecError as exc:
        raise Malformed(f"The body is not valid JSON: {exc}") from exc
    return {name: _value(fields[name]) for name in CallEvent.__struct_fields__ if name in fields}


def _fields(body: bytes) -> Any:
    """The values of an object as they are written; of any other JSON the value itself."""
    try:
        return _decode_fields(body)
    except msgspec.ValidationError:
        return _decode_any(body)


def _value(written: msgspec.Raw) -> Any:
    try:
        return _decode_any(written)
    except msgspec.MsgspecError:
        return math.inf  # JSON it is, but it has a number that no double holds, or of too many digits


def _check_payload(body: bytes) -> None:
    """What only fields that the service does not know can hold."""
    if body.rfind(b"{") > 0 or _BRACKET in body:
        _check_depth(body)
    if (BIG_E in body or EXPONENT(body) or len(body) > LONG_DIGITS) and (wrong := problem(body)):
        raise Invalid({"payload": [wrong]})


def _check_depth(body: bytes) -> None:
    if body.count(b"{") + body.count(b"[") > JSON_DEPTH_MAX and _is_too_deep(body):
        raise Malformed(TOO_DEEP)


_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'[]{}"')


def _is_too_deep(json: bytes) -> bool:
    """Takes away one level at a time, all in C: a megabyte of brackets must not hold up the other requests."""
    plain = json.replace(rb"\\", b"").replace(rb"\"", b"").translate(_SQUARE, _NO_STRUCTURE)
    brackets = b"".join(plain.split(b'"')[::2])
    for _ in range(JSON_DEPTH_MAX):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


# RFC 3339, section 5.6, with the blank it allows in place of the T.
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):([0-5]\d|60)(\.\d+)?(Z|z|[+-]([01]\d|2[0-3]):?[0-5]\d)", re.ASCII
)


def field_errors(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Every error of every field, in the form (and the words) of Laravel's validator."""
    errors: dict[str, list[str]] = {}
    for field, limit in LENGTHS_MAX.items():
        _add(errors, field, _text_error(field, document.get(field), limit))
    _add(errors, "timestamp", _timestamp_error(document.get("timestamp")))
    required = document.get("event_type") == CALL_ENDED
    _add(errors, "duration", _duration_error(document.get("duration"), required))
    return errors


def _add(errors: dict[str, list[str]], field: str, error: str | None) -> None:
    if error:
        errors[field] = [error]


def _text_error(field: str, value: Any, limit: int) -> str | None:
    name = field.replace("_", " ")
    if value is None or value == "":
        return f"The {name} field is required."
    if not isinstance(value, str):
        return f"The {name} must be a string."
    if len(value) > limit:
        return f"The {name} may not be greater than {limit} characters."
    return None


def _timestamp_error(value: Any) -> str | None:
    if value is None or value == "":
        return "The timestamp field is required."
    if not isinstance(value, str):
        return "The timestamp must be a string."
    match = _RFC_3339.fullmatch(value)
    try:
        if match:
            datetime.fromisoformat(f"{match[1]}T{match[2]}")
            return None
    except ValueError:
        pass
    return "The timestamp must be a date and time as in RFC 3339, with an offset, such as 2025-01-31T13:45:00Z."


def _duration_error(value: Any, required: bool) -> str | None:
    if value is None:
        return "The duration field is required when event type is call_ended." if required else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return "The duration must be a whole number of seconds."
    if value < 0:
        return "The duration must be at least 0."
    if value > DURATION_SECONDS_MAX:
        return f"The duration may not be greater than {DURATION_SECONDS_MAX}."
    return None

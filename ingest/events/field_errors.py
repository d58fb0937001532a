"""Explains a refused body: every error of every field at once.

The decoder stops at the first error, so this module reads the body a second time.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ingest.errors import Invalid, Malformed
from ingest.events.call_event import CALL_ENDED, DURATION_SECONDS_MAX, LENGTHS_MAX, CallEvent
from ingest.events.json_limits import TOO_DEEP
from ingest.events.local_times import is_local

SEVERAL = (
    "There is more text behind the JSON object. An event is one object;"
    " a batch is a JSON array, or NDJSON with one event a line."
)

_decode_any = msgspec.json.Decoder().decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def explain(body: bytes) -> CallEvent:
    """Raise `Malformed` or `Invalid` with all errors of the body. Return the event if it is valid.

    The decoder refuses some valid events: with a leap second, or with a duration that is written as a string.
    """
    document = _document(body)
    errors = field_errors(document)
    if errors:
        raise Invalid(errors)
    texts = {field: document[field] for field in LENGTHS_MAX}
    return CallEvent(**texts, timestamp=datetime.min, duration=_seconds(document.get("duration")))


def _document(body: bytes) -> dict[str, Any]:
    """The known fields. The values of other fields are not looked at, as in a body that is accepted."""
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
        if "trailing characters" in str(exc):
            raise Malformed(SEVERAL) from exc
        raise Malformed(f"The body is not valid JSON: {exc}") from exc
    return {name: _value(fields[name]) for name in CallEvent.__struct_fields__ if name in fields}


def _fields(body: bytes) -> Any:
    """The values of an object, still as JSON. Any other JSON is decoded."""
    try:
        return _decode_fields(body)
    except msgspec.ValidationError:
        return _decode_any(body)


def _value(written: msgspec.Raw) -> Any:
    try:
        return _decode_any(written)
    except msgspec.MsgspecError:
        return math.inf  # valid JSON, but a number in it has too many digits, or no double holds it


# RFC 3339, section 5.6, with the blank it allows in place of the T.
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):([0-5]\d|60)(\.\d+)?(Z|z|[+-]([01]\d|2[0-3]):?[0-5]\d)", re.ASCII
)

_DIGITS = re.compile(r" *(-?\d{1,19}) *", re.ASCII)
"""A whole number in a string. Longer ones are far above the limit."""


def field_errors(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return every error of every field, in the form and words of Laravel's validator."""
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


def is_rfc3339(text: str) -> bool:
    """Return True for a date and time with an offset from UTC, as the service accepts it. A leap second is one."""
    match = _RFC_3339.fullmatch(text)
    try:
        return bool(match and datetime.fromisoformat(f"{match[1]}T{match[2]}"))
    except ValueError:
        return False


def _timestamp_error(value: Any) -> str | None:
    if value is None or value == "":
        return "The timestamp field is required."
    if not isinstance(value, str):
        return "The timestamp must be a string."
    if is_rfc3339(value):
        return None
    if is_local(value):
        return (
            "The timestamp has no offset from UTC. Send one, as in 2025-01-31T13:45:00+04:00, or set"
            " INGEST_TIMESTAMP_ZONE to the zone that the service shall assume."
        )
    return "The timestamp must be a date and time as in RFC 3339, with an offset, such as 2025-01-31T13:45:00Z."


def _duration_error(value: Any, required: bool) -> str | None:
    if value is None:
        return "The duration field is required when event type is call_ended." if required else None
    value = _seconds(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return "The duration must be a whole number of seconds."
    if value < 0:
        return "The duration must be at least 0."
    if value > DURATION_SECONDS_MAX:
        return f"The duration may not be greater than {DURATION_SECONDS_MAX}."
    return None


def _seconds(value: Any) -> Any:
    """Return a whole number that is written as a float, or in digits as Laravel's rule `integer` takes it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (digits := _DIGITS.fullmatch(value)):
        return int(digits[1])
    return value

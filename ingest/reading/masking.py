"""Masks phone numbers in an event for readers whose token does not show them."""

from typing import Any

import msgspec

from ingest.telemetry.logs import masked

NUMBER_FIELDS = ("from_number", "to_number")
PLAIN_FIELDS = ("call_id", "event_type", "timestamp", "duration")
"""Readers search by these. They are no phone numbers."""
SHOWN = 2
NUMBER_LEAST = 1_000_000
"""A whole number of seven digits may be a phone number."""


def masked_payload(payload: bytes) -> Any:
    """Return the event as an object, with all digits of a phone number but the last two replaced.

    Text with seven digits or more in a row counts as a phone number wherever it is.
    """
    try:
        event = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None  # no row of this service
    if not isinstance(event, dict):
        return _masked(event)
    return {str(masked(name)): _field(name, value) for name, value in event.items()}


def masked_number(value: str) -> str:
    """`+15551230001` becomes `***01`. A text without digits, such as `anonymous`, stays."""
    return f"***{value[-SHOWN:]}" if any(map(str.isdigit, value)) and len(value) > SHOWN else value


def _field(name: str, value: Any) -> Any:
    if name in PLAIN_FIELDS:
        return value
    if name in NUMBER_FIELDS and isinstance(value, str):
        return masked_number(value)
    return _masked(value)


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(masked(name)): _masked(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_masked(one) for one in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= NUMBER_LEAST:
        return masked_number(str(value))
    return masked(value)

"""A second implementation of the event's contract (`ingest/http/openapi.py`), without the service's code."""

import calendar
import json
import math
import re
from typing import Any, NamedTuple, NoReturn

TEXTS = {"call_id": 255, "from_number": 128, "to_number": 128, "event_type": 64}
LEVELS_MAX = 31
DIGITS_MAX = 4000
"""Longer whole numbers count as infinite. Python's `int` has its own, higher limit."""
WHOLE_DIGITS_MAX = 309
EXPONENT_MAX = 308
KEY_BYTES_MAX = 65_535
"""The longest key in MySQL's JSON."""
DIGITS = re.compile(r" *(?P<digits>-?[0-9]{1,19}) *")
"""A duration as Laravel's rule `integer` takes it in a string."""
TIMESTAMP = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})[Tt ]"
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?P<offset_hour>[0-9]{2}):?(?P<offset_minute>[0-9]{2}))"
)


class Verdict(NamedTuple):
    """The bytes of an event are malformed, or are a JSON object with these wrong fields."""

    malformed: bool
    wrong: set[str]
    document: dict[str, Any]


def judge(body: bytes) -> Verdict:
    body = without_mark(body)
    try:
        document = parsed(body)
    except (ValueError, RecursionError):
        return Verdict(True, set(), {})
    if not isinstance(document, dict):
        return Verdict(True, set(), {})
    wrong = _wrong_fields(document) or _wrong_payload(body)
    return Verdict(_levels(_lists(body)) > LEVELS_MAX, wrong, document)


def without_mark(body: bytes) -> bytes:
    return body.removeprefix(b"\xef\xbb\xbf")


def _wrong_payload(body: bytes) -> set[str]:
    """Return `payload` if MySQL's JSON type refuses the body."""
    found: set[str] = set()

    def look(token: str) -> float:
        mantissa, _, exponent = token.lower().lstrip("-").partition("e")
        whole, _, places = mantissa.partition(".")
        beyond = int(exponent[:DIGITS_MAX] or 0) > EXPONENT_MAX + len(places)
        if beyond or len(whole) > WHOLE_DIGITS_MAX or math.isinf(float(token)):
            found.add("payload")
        return 0.0

    def see(pairs: list[tuple[str, Any]]) -> None:
        if any(len(key.encode()) > KEY_BYTES_MAX for key, _ in pairs):
            found.add("payload")

    json.loads(body, parse_int=look, parse_float=look, object_pairs_hook=see)
    return found


def parsed(body: bytes) -> Any:
    """Parse by RFC 8259. Raises ValueError, with its subclasses of json and codecs, or RecursionError."""
    return _in_utf8(
        json.loads(
            body.decode(),
            parse_constant=_refuse_constant,
            parse_int=_whole,
            parse_float=float,
            object_pairs_hook=_last_wins,
        )
    )


def _in_utf8(value: Any) -> Any:
    """Refuse half of a surrogate pair, which JSON can escape but UTF-8 cannot encode."""
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _whole(digits: str) -> float:
    return int(digits) if len(digits) < DIGITS_MAX else math.inf


def _last_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(_in_utf8(pairs))


def _lists(body: bytes) -> Any:
    """Parse with lists in place of objects, so that values of repeated keys are kept."""
    return json.loads(body, parse_int=_whole, object_pairs_hook=lambda pairs: [value for _, value in pairs])


def _levels(value: Any) -> int:
    return 1 + max(map(_levels, value), default=0) if isinstance(value, list) else 0


def _wrong_fields(document: dict[str, Any]) -> set[str]:
    wrong = {name for name, longest in TEXTS.items() if not _is_text(document.get(name), longest)}
    if not _is_timestamp(document.get("timestamp")):
        wrong.add("timestamp")
    if not _is_duration(document.get("duration"), needed=document.get("event_type") == "call_ended"):
        wrong.add("duration")
    return wrong


def _is_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest


def _is_timestamp(value: Any) -> bool:
    match = TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return False
    part = {name: int(digits) for name, digits in match.groupdict(default="0").items()}
    return (
        part["year"] >= 1
        and 1 <= part["month"] <= 12
        and 1 <= part["day"] <= calendar.monthrange(part["year"], part["month"])[1]
        and max(part["hour"], part["offset_hour"]) <= 23
        and max(part["minute"], part["offset_minute"]) <= 59
        and part["second"] <= 60  # leap seconds
    )


def _is_duration(value: Any, *, needed: bool) -> bool:
    if value is None:
        return not needed
    if isinstance(value, str):
        digits = DIGITS.fullmatch(value)
        return digits is not None and 0 <= int(digits["digits"]) < 2**31
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value == int(value) and 0 <= value < 2**31

"""Finds valid JSON that the servers' JSON columns refuse, without asking them: they may be away.

MySQL 9.7 refuses a number that no double holds, a number of more than 309 digits, and a zero with such an exponent. It
refuses a key above 65,535 bytes, too. MariaDB 10.11 takes these, but refuses JSON that is nested too deep.
"""

import math
import re

import msgspec

DEPTH_MAX = 31
"""Levels of nesting. MariaDB's JSON_VALID() refuses more than 31. MySQL's limit is 100."""
KEY_BYTES_MAX = 65_535
"""Size of a key in MySQL's JSON, in UTF-8."""
DIGITS_MAX = 309
"""Digits before the point. MySQL's JSON_VALID() refuses more, whatever the exponent."""
EXPONENT_MAX = 308
"""The exponent of a double. Each digit behind the point allows one more."""

NUMBER = "The payload has a number that a database's JSON does not take: use one below 1.8e308, or a string."
TOO_DEEP = f"The body is nested deeper than {DEPTH_MAX} levels."
KEY = f"The payload has a key above {KEY_BYTES_MAX} bytes."

BIG_E = ord("E")
EXPONENT = re.compile(rb"e[\d+]\d\d").search
"""An exponent with a small e. This costs most of all checks of an event, so it also matches some harmless texts."""
LONG_DIGITS = EXPONENT_MAX - 99
"""A number of this many digits is too large with an exponent of two digits."""
_SAMPLE = LONG_DIGITS // 4
_FOUR_DIGITS = re.compile(rb"\d{4}").search
_SUSPECT = re.compile(rb"(\d+)(?:\.(\d+))?(?:[eE]\+?(\d+))?")
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_text = msgspec.json.Decoder(str).decode


def problem(json: bytes) -> str | None:
    """Return why a server would refuse this valid JSON. None if it takes it.

    JSON of up to `LONG_DIGITS` bytes has no problem if it has neither `BIG_E` nor a match of `EXPONENT`.
    """
    # At least four samples in a row hit a number of this many digits.
    digits = len(json) > LONG_DIGITS and _FOUR_DIGITS(json[::_SAMPLE])
    if (digits or BIG_E in json or EXPONENT(json)) and _has_large_number(_outside_of_strings(json)):
        return NUMBER
    if len(json) > KEY_BYTES_MAX and _has_long_key(json):
        return KEY
    return None


def is_too_deep(json: bytes) -> bool:
    """Take away one level at a time, all in C: a megabyte of brackets must not delay other requests."""
    if json.count(b"{") + json.count(b"[") <= DEPTH_MAX:
        return False
    plain = json.replace(rb"\\", b"").replace(rb"\"", b"").translate(_SQUARE, _NO_STRUCTURE)
    brackets = b"".join(plain.split(b'"')[::2])
    for _ in range(DEPTH_MAX):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _outside_of_strings(json: bytes) -> bytes:
    return b'""'.join(_parts(json)[::2])


def _parts(json: bytes) -> list[bytes]:
    """The parts outside and inside of strings, by turns. An escaped backslash or quote becomes an `_`."""
    return json.replace(rb"\\", b"_").replace(rb"\"", b"_").split(b'"')


def _has_large_number(plain: bytes) -> bool:
    if not (BIG_E in plain or EXPONENT(plain) or len(plain) > LONG_DIGITS):
        return False
    return any(_is_too_large(*match.groups(b"")) for match in _SUSPECT.finditer(plain))


def _is_too_large(whole: bytes, places: bytes, exponent: bytes) -> bool:
    if len(whole) > DIGITS_MAX:
        return True
    if exponent:
        return len(exponent.lstrip(b"0")) > 6 or _overflows(whole, places, int(exponent))
    return len(whole) == DIGITS_MAX and math.isinf(float(whole))


def _overflows(whole: bytes, places: bytes, exponent: int) -> bool:
    if exponent > EXPONENT_MAX + len(places):
        return True  # even of a zero
    return math.isinf(float(b"%b.%be%d" % (whole, places or b"0", exponent)))


def _has_long_key(json: bytes) -> bool:
    parts = _parts(json)
    for at in range(1, len(parts), 2):
        long = len(parts[at]) > KEY_BYTES_MAX and parts[at + 1].lstrip().startswith(b":")
        if long and len(_text(b'"%b"' % parts[at]).encode()) > KEY_BYTES_MAX:
            return True
    return False

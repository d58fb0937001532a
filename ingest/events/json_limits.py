"""What the servers' JSON columns refuse of JSON that is valid, found without asking them: they may be away.

MySQL 9.7 refuses a number that no double holds, also one of more digits or of a zero with such an exponent, and a key
above 65,535 bytes; MariaDB 10.11 takes both. Whatever is not JSON both refuse, as the decoder does.
"""

import math
import re

import msgspec

KEY_BYTES_MAX = 65_535
"""Of a key in MySQL's JSON, in UTF-8."""
DIGITS_MAX = 309
"""Of a number before its point. With more MySQL's JSON_VALID() says no, whatever the exponent."""
EXPONENT_MAX = 308
"""Of a double. Places behind the point allow for as much more."""

NUMBER = "The payload has a number that a database's JSON does not take: use one below 1.8e308, or a string."
KEY = f"The payload has a key above {KEY_BYTES_MAX} bytes."

BIG_E = ord("E")
EXPONENT = re.compile(rb"e[\d+]\d\d").search
"""In its small form; the dearest of what is looked at for each event, so it says yes too often."""
LONG_DIGITS = EXPONENT_MAX - 99
"""With so many a number is too large by an exponent of two digits."""
_SAMPLE = LONG_DIGITS // 4
_FOUR_DIGITS = re.compile(rb"\d{4}").search
_SUSPECT = re.compile(rb"(\d+)(?:\.(\d+))?(?:[eE]\+?(\d+))?")
_text = msgspec.json.Decoder(str).decode


def problem(json: bytes) -> str | None:
    """Why a server would refuse this, which is valid JSON; None if it takes it.

    There is none in up to `LONG_DIGITS` bytes with neither `BIG_E` nor what `EXPONENT` finds.
    """
    # So many digits in a row are hit by at least four of these samples in a row.
    digits = len(json) > LONG_DIGITS and _FOUR_DIGITS(json[::_SAMPLE])
    if (digits or BIG_E in json or EXPONENT(json)) and _has_large_number(_outside_of_strings(json)):
        return NUMBER
    if len(json) > KEY_BYTES_MAX and _has_long_key(json):
        return KEY
    return None


def _outside_of_strings(json: bytes) -> bytes:
    return b'""'.join(_parts(json)[::2])


def _parts(json: bytes) -> list[bytes]:
    """What is outside of strings and what is inside, by turns; an escaped backslash or quote is an `_`."""
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

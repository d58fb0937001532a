"""Values of columns and literals."""

import calendar
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from tests.simulation.mysql.sql.shape import bytes_of

MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?$")
FORMATS = re.compile(r"%(.)")
EPOCH = datetime(1970, 1, 1)


class Moment(int):
    """A DATETIME(6), as microseconds since 1970 (UTC)."""


@lru_cache(4096)
def moment_of(text: str) -> Moment | None:
    """None if the text is no date."""
    match = MOMENT.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    seconds = calendar.timegm((year, month, day, hour, minute, second))
    return Moment(seconds * 1_000_000 + int((match[7] or "0").ljust(6, "0")))


def text_of_moment(moment: Moment, form: str = "%Y-%m-%d %H:%i:%s.%f") -> str:
    """`form` is one of DATE_FORMAT."""
    second, fraction = divmod(moment, 1_000_000)
    now = time.gmtime(second)
    parts = {"f": f"{fraction:06}", "i": f"{now.tm_min:02}", "s": f"{now.tm_sec:02}"}
    return FORMATS.sub(lambda match: parts.get(match[1]) or time.strftime(match[0], now), form)


def datetime_of(moment: Moment | None) -> datetime | None:
    """It has no time zone, as the driver returns it."""
    return None if moment is None else EPOCH + timedelta(microseconds=moment)


def plain(literal: bytes) -> Any:
    """The value of a literal that stands for itself: a str, an int or a float."""
    if literal[:1] == b"'":
        return bytes_of(literal).decode()
    return float(literal) if b"." in literal else int(literal)


def binary(literal: bytes) -> bytes:
    return bytes_of(literal)


def hexadecimal(literal: bytes) -> bytes:
    return bytes.fromhex(literal[1:-1].decode())


LITERALS: dict[str, Callable[[bytes], Any]] = {"plain": plain, "binary": binary, "hex": hexadecimal}


def as_moment(value: Any) -> Any:
    return moment_of(value) if isinstance(value, str) else value


def as_text(value: Any) -> Any:
    """The result of CAST AS CHAR."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    return text_of_moment(value) if isinstance(value, Moment) else str(int(value))


LEVELS_OF_MARIADB, LEVELS_OF_MYSQL = 31, 100


def json_valid(text: bytes, levels_max: int) -> bool:
    """Both servers refuse JSON that is nested too deeply."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return text.count(b"{") + text.count(b"[") <= levels_max or _levels(text) <= levels_max


def _levels(text: bytes) -> int:
    deepest = level = 0
    for sign in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", text):
        level += (sign in b"{[") - (sign in b"}]")
        deepest = max(deepest, level)
    return deepest

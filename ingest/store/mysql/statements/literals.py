"""Values as SQL literals of MySQL, in bytes.

Strings are escaped as MySQL's manual says for single-quoted strings (String Literals). The session's `sql_mode`, set at
connect, has no NO_BACKSLASH_ESCAPES, and its character set is utf8mb4.
"""

import time
from collections.abc import Iterable


def quoted(value: bytes) -> bytes:
    """`value` (UTF-8) as a string literal."""
    return b"'" + value.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"


def microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)


def created_literal(us: int) -> bytes:
    """Unix microseconds as a DATETIME(6) literal in UTC."""
    return quoted(created_text(us).encode())


def created_text(us: int) -> str:
    second, fraction = divmod(us, 1_000_000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(second))}.{fraction:06}"


def listed(numbers: Iterable[int]) -> bytes:
    return b",".join(b"%d" % number for number in numbers)


def hex_listed(values: Iterable[bytes]) -> bytes:
    return b",".join(b"x'%b'" % value.hex().encode() for value in values)

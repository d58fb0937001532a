"""Compares types of columns by the names that MySQL and MariaDB give them."""

import re
from typing import Literal

Fit = Literal["same", "wider"]

TYPE = re.compile(r"(\w+)(?:\((\d+)\))?(.*)")
INTEGERS = ("tinyint", "smallint", "mediumint", "int", "bigint")
TEXT_BYTES = {"tinytext": 255, "text": 65_535, "mediumtext": 16_777_215, "longtext": 4_294_967_295}
BLOB_BYTES = {"tinyblob": 255, "blob": 65_535, "mediumblob": 16_777_215, "longblob": 4_294_967_295}
WIDER = {"varchar": TEXT_BYTES, "varbinary": BLOB_BYTES}
VARIABLE = {"char": "varchar", "binary": "varbinary"}
CHARACTER_BYTES = 4


def fits(wanted: str, found: str, *, unsigned: bool) -> Fit | None:
    """Compare a type of `sql/` with one of information_schema. None: some values would be refused or changed.

    `unsigned`: the column is never negative, so unsigned types fit too.
    """
    kind, size, _ = _parts(wanted)
    other, other_size, rest = _parts(found)
    if kind in INTEGERS and other in INTEGERS:
        return _of_integers(kind, other, is_unsigned="unsigned" in rest, may_be=unsigned)
    if kind == "json":  # MariaDB stores JSON as text, and a user may do so too
        return "same" if other in ("json", "longtext") else None
    if kind == other:
        return _of_sizes(kind, size, other_size)
    if VARIABLE.get(kind) == other:
        return "wider" if other_size >= size else None
    room = WIDER.get(kind, {}).get(other)
    return "wider" if room is not None and room >= size * CHARACTER_BYTES else None


def _parts(text: str) -> tuple[str, int, str]:
    match = TYPE.fullmatch(text.lower())
    return (match[1], int(match[2] or 0), match[3]) if match else (text, 0, "")


def _of_integers(kind: str, other: str, *, is_unsigned: bool, may_be: bool) -> Fit | None:
    """The number in an integer's parentheses is only its display width, so it is ignored."""
    if INTEGERS.index(other) < INTEGERS.index(kind) or (is_unsigned and not may_be):
        return None
    return "same" if other == kind and not is_unsigned else "wider"


def _of_sizes(kind: str, size: int, other_size: int) -> Fit | None:
    if other_size == size:
        return "same"
    # A time with other digits would be rounded, and bytes would be padded to another length.
    return "wider" if kind in ("varchar", "varbinary", "char") and other_size > size else None

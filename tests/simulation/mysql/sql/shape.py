"""Splits a query into the shapes of its statements, and their literals. A shape is parsed once in a process.

A literal becomes `?` in the shape, and a list of literals after IN becomes `?*`. Rows of VALUES like the first one are
left out. So a batch has the same shape whatever its size.
"""

import re
from typing import Any, NamedTuple

LITERAL = re.compile(rb"('(?:[^'\\]++|\\.|'')*+'|(?<![!\w])\d++(?:\.\d++)?)", re.DOTALL)
"""A string, or a number. The number in a version's comment, as `/*!80000`, is none."""
LIST = re.compile(rb"IN \(((?:_binary|x)?\?)((?:,\1)*)\)")
ROWS = re.compile(rb"VALUES (\((?:[^()]|\([^()]*\))*\))((?:,\s*\1)+)(?= ON DUPLICATE|$)")
ESCAPED = re.compile(rb"\\(.)|''", re.DOTALL)
ESCAPES = {b"0": b"\0", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"Z": b"\x1a"}
KNOWN_MAX = 10_000
SHORT_BYTES = 4096
"""Queries up to this length are asked again and again."""

Params = list[Any]
"""A literal, as bytes of the query; or a list of them for `?*`."""


class Statement(NamedTuple):
    """`rows` is the number of rows of VALUES. Their literals follow each other in `params`."""

    shape: bytes
    params: Params
    rows: int


class _Plan(NamedTuple):
    shape: bytes
    literals: int
    lists: tuple[tuple[int, int], ...]
    """The place of the list among the literals, and its length."""
    rows: int


_plans: dict[bytes, _Plan] = {}
_known: dict[bytes, list[Statement]] = {}


def statements_of(query: bytes) -> list[Statement]:
    """The statements of a query, in order. Nobody may change them."""
    found = _known.get(query)
    if found is None:
        found = _statements_of(query)
        if len(query) <= SHORT_BYTES:
            if len(_known) > KNOWN_MAX:
                _known.clear()
            _known[query] = found
    return found


def _statements_of(query: bytes) -> list[Statement]:
    parts = LITERAL.split(query)
    literals = parts[1::2]
    found, at = [], 0
    for piece in b"?".join(parts[::2]).split(b";"):
        plan = _plans.get(piece) or _planned(piece)
        if plan.shape:
            params: Params = literals[at : at + plan.literals]
            for place, length in plan.lists:
                params[place : place + length] = [params[place : place + length]]
            found.append(Statement(plan.shape, params, plan.rows))
        at += plan.literals
    return found


def _planned(piece: bytes) -> _Plan:
    if len(_plans) > KNOWN_MAX:
        _plans.clear()
    lists: list[tuple[int, int]] = []
    before = 0
    for number, found in enumerate(LIST.finditer(piece)):
        length = found[0].count(b"?")
        lists.append((piece.count(b"?", 0, found.start()) - before + number, length))
        before += length
    shape = LIST.sub(rb"IN (\1*)", piece).strip()
    rows = 1
    if shape.startswith(b"INSERT") and (match := ROWS.search(shape)):
        rows = match[2].count(b"?") // match[1].count(b"?") + 1
        shape = shape[: match.start(2)] + shape[match.end(2) :]
    plan = _plans[piece] = _Plan(shape, piece.count(b"?"), tuple(lists), rows)
    return plan


def bytes_of(literal: bytes) -> bytes:
    """The value of a string literal."""
    body = literal[1:-1]
    return ESCAPED.sub(_unescaped, body) if b"\\" in body or b"''" in body else body


def _unescaped(match: "re.Match[bytes]") -> bytes:
    escaped: bytes | None = match[1]
    return b"'" if escaped is None else ESCAPES.get(escaped, escaped)

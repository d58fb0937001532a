"""Properties of every batch: `split` finds its items, and keeps them as the client wrote them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import BodyTooLarge
from ingest.http.batch_body import split
from tests.fuzz.checks import ITEMS_MAX, check_batch
from tests.unit.events.test_event_properties import JSON, SCALARS, TEXT

BLANKS = st.text(" \t\r", max_size=2).map(str.encode)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \r\n \t\n"])
STYLES: list[dict[str, Any]] = [
    {},
    {"ensure_ascii": False},
    {"separators": (",", ":")},
    {"separators": (" ,\t", "\r: ")},
]
PIECES = [b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"1", b"\n", b"\r", b"\x0b", b"\xff", b"x"]


def written(values: st.SearchStrategy[Any], *styles: dict[str, Any]) -> st.SearchStrategy[bytes]:
    return st.builds(lambda value, style: json.dumps(value, **style).encode(), values, st.sampled_from(styles))


ITEMS = st.lists(written(JSON, *STYLES, {"indent": 1}), min_size=1, max_size=5)
LINES = st.lists(written(st.dictionaries(TEXT, SCALARS, max_size=2), *STYLES), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(ITEMS, BLANKS, st.booleans())
def test_items_of_an_array_are_as_they_were_written(items: list[bytes], blanks: bytes, bounded: bool) -> None:
    array = blanks + b"[" + (blanks + b"," + blanks).join(items) + b"]" + blanks

    assert [*split(array, len(items) if bounded else 1_000)] == items


@settings(max_examples=100, deadline=None)
@given(LINES, BLANKS, LINE_ENDS)
def test_lines_are_as_they_were_written(lines: list[bytes], blanks: bytes, end: bytes) -> None:
    assert [*split((blanks + end).join(lines) + end, len(lines))] == lines


@settings(max_examples=100, deadline=None)
@given(ITEMS.filter(lambda items: len(items) > 1), st.booleans())
def test_one_item_too_many_is_refused(items: list[bytes], as_array: bool) -> None:
    batch = b"[" + b",".join(items) + b"]" if as_array else b"{}\n" * len(items)

    with pytest.raises(BodyTooLarge, match=f"more than {len(items) - 1} events"):
        split(batch, len(items) - 1)


@settings(max_examples=100, deadline=None)
@given(ITEMS, st.binary(max_size=20), st.integers(0, 300), st.integers(0, 10))
def test_a_damaged_batch_is_split_as_it_is_written_or_refused(
    items: list[bytes], noise: bytes, position: int, removed: int
) -> None:
    batch = b"[" + b",".join(items) + b"]"

    check_batch(batch[:position] + noise + batch[position + removed :])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=2 * ITEMS_MAX).map(b"".join))
def test_any_bytes_are_split_as_they_are_written_or_refused(noise: bytes) -> None:
    check_batch(noise)

"""The items of a batch's body: a JSON array's, or NDJSON's lines; found once, and copied out one by one.

So a large body costs little more than itself: an item is bytes of its own only while it is queued.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice

import msgspec

from ingest.errors import BodyTooLarge, Malformed

_FIRST = re.compile(rb"[^ \t\r\n]")
_LINE = re.compile(rb"[^ \t\r\n](?:[^\n]*[^ \t\r\n])?")
"""A line that is not blank, without the blanks around it: NDJSON's lines end with a line feed, and only with it."""

_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class BatchBody:
    """Each as it was written. May be gone through again."""

    def __init__(self, make: Callable[[], Iterator[bytes]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[bytes]:
        return self._make()

    def count(self) -> int:
        return sum(1 for _ in self._make())


def split(body: bytes, items_max: int) -> BatchBody:
    """Raises `Malformed`, also if there are none, or `BodyTooLarge`."""
    first = _FIRST.search(body)
    if not first:
        raise _nothing()
    return _array(body, items_max) if first[0] == b"[" else _lines(body, items_max)


def _array(body: bytes, items_max: int) -> BatchBody:
    bounded = body.count(b",") >= items_max  # with fewer commas it cannot be too long
    try:
        found: Sequence[msgspec.Raw] = _decode_bounded(items_max)(body) if bounded else _decode_items(body)
    except msgspec.ValidationError as exc:
        raise _too_many(items_max) from exc
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise Malformed(f"The body is not a valid JSON array: {exc}") from exc
    if not found:
        raise _nothing()
    return BatchBody(lambda: map(bytes, found))


@cache
def _decode_bounded(items_max: int) -> Callable[[bytes], Sequence[msgspec.Raw]]:
    """Decodes an array and stops at the first item too many, before memory is given to millions of them.

    A list knows no such limit while it grows, but an array of fields does: one field an item.
    """
    fields = [(f"item_{number}", msgspec.Raw, None) for number in range(items_max)]
    items = msgspec.defstruct("Items", fields, array_like=True, forbid_unknown_fields=True, gc=False)
    decoder = msgspec.json.Decoder(items)
    return lambda body: [item for item in msgspec.structs.astuple(decoder.decode(body)) if item is not None]


def _lines(body: bytes, items_max: int) -> BatchBody:
    items = BatchBody(lambda: (line[0] for line in _LINE.finditer(body)))
    # With fewer line feeds there cannot be too many.
    if body.count(b"\n") >= items_max and sum(1 for _ in islice(items, items_max + 1)) > items_max:
        raise _too_many(items_max)
    return items


def _too_many(items_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body has more than the {items_max} events that the service takes at once.")


def _nothing() -> Malformed:
    return Malformed("The body holds no events; it must be a JSON array or NDJSON.")

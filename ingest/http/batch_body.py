"""Splits a batch's body into items: the elements of a JSON array, or the lines of NDJSON.

The items are found once and copied one by one. An item takes memory of its own only while it is queued, so a large
body costs little more than its own size.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice

import msgspec

from ingest.errors import BodyTooLarge, Malformed

_FIRST = re.compile(rb"[^ \t\r\n]")
_LINE = re.compile(rb"[^ \t\r\n](?:[^\n]*[^ \t\r\n])?")
"""A line that is not blank, without its surrounding blanks. Only a line feed ends a line of NDJSON."""

_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class BatchBody:
    """The items as the client wrote them. It may be iterated several times."""

    def __init__(self, make: Callable[[], Iterator[bytes]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[bytes]:
        return self._make()

    def count(self) -> int:
        return sum(1 for _ in self._make())


def split(body: bytes, items_max: int) -> BatchBody:
    """Return the items. A byte order mark before them is ignored.

    Raises `Malformed` if the body is no array or has no items, and `BodyTooLarge` if it has too many.
    """
    body = body.removeprefix(BOM_UTF8)
    first = _FIRST.search(body)
    if not first:
        raise _nothing()
    return _array(body, items_max) if first[0] == b"[" else _lines(body, items_max)


def _array(body: bytes, items_max: int) -> BatchBody:
    bounded = body.count(b",") >= items_max  # an array with fewer commas cannot be too long
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
    """A decoder that stops at the first item above the limit, before it allocates memory for millions of items.

    msgspec cannot limit a list while it decodes it. It can limit a struct that is encoded as an array, so each item
    becomes one field of such a struct.
    """
    fields = [(f"item_{number}", msgspec.Raw, None) for number in range(items_max)]
    items = msgspec.defstruct("Items", fields, array_like=True, forbid_unknown_fields=True, gc=False)
    decoder = msgspec.json.Decoder(items)
    return lambda body: [item for item in msgspec.structs.astuple(decoder.decode(body)) if item is not None]


def _lines(body: bytes, items_max: int) -> BatchBody:
    items = BatchBody(lambda: (line[0] for line in _LINE.finditer(body)))
    # A body with fewer line feeds cannot have too many items.
    if body.count(b"\n") >= items_max and sum(1 for _ in islice(items, items_max + 1)) > items_max:
        raise _too_many(items_max)
    return items


def _too_many(items_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body has more than {items_max} events, which is the limit.")


def _nothing() -> Malformed:
    return Malformed("The body has no events; it must be a JSON array or NDJSON.")

"""Reads the whole records out of a damaged spool, page by page, as SQLite's own `.recover` does.

A record that was removed lately may be among them, and an older version of one: the ids make it harmless.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ingest.spool.pages import Pages, varint
from ingest.spool.records import Record

COLUMNS = 4
NULL, BLOB, TEXT = 0, 12, 13
"""Serial types (Database File Format, section 2.1); of blobs and texts the least."""
INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
CONSTANTS = {8: 0, 9: 1}


def salvage(path: Path) -> Iterator[Record]:
    """Each record whose batch is whole by its checksum, once. Raises OSError if the file cannot be read."""
    seen: set[int] = set()
    with closing(Pages(path)) as pages:
        for number in range(1, pages.count + 1):
            for rowid, payload in pages.cells(number):
                if rowid not in seen and (record := _record(rowid, payload)):
                    seen.add(rowid)
                    yield record


def _record(first_id: int, payload: bytes) -> Record | None:
    """A row of the table `spool`, or of `refused`, whose reason stands in the place of the lease."""
    try:
        values = _values(payload)
    except (IndexError, ValueError):
        return None
    if len(values) != COLUMNS:
        return None
    _, count, lease_until, batch = values
    if not isinstance(count, int) or not isinstance(batch, bytes):
        return None
    record = Record(first_id, count, lease_until if isinstance(lease_until, int) else None, batch)
    whole = record.unpacked()
    return record if whole is not None and (whole.first_id, len(whole)) == (first_id, count) else None


def _values(payload: bytes) -> list[int | bytes | None]:
    """The columns of a record (section 2.1); texts as bytes. Raises `IndexError` or `ValueError`."""
    end, place = varint(payload, 0)
    kinds: list[int] = []
    while place < end and len(kinds) <= COLUMNS:
        kind, place = varint(payload, place)
        kinds.append(kind)
    values: list[int | bytes | None] = []
    place = end
    for kind in kinds:
        size = INTEGER_BYTES.get(kind, 0) if kind < BLOB else (kind - BLOB) // 2
        content = payload[place : place + size]
        if len(content) < size:
            raise ValueError("the record is cut off")
        values.append(_value(kind, content))
        place += size
    return values


def _value(kind: int, content: bytes) -> int | bytes | None:
    if kind in CONSTANTS:
        return CONSTANTS[kind]
    if kind in INTEGER_BYTES:
        return int.from_bytes(content, "big", signed=True)
    if kind >= BLOB:
        return content
    if kind == NULL:
        return None
    raise ValueError("no column is of this kind")

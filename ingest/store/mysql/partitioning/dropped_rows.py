"""Reads the rows that a drop has taken out of `call_event_logs`, so that they can be kept elsewhere."""

from collections.abc import AsyncIterator, Sequence

from ingest.retention.kept_rows import StoredRow, Summary
from ingest.store.mysql.connection import Connection, Row
from ingest.store.mysql.partitioning.pages import last_id_of_page
from ingest.store.mysql.partitioning.unfinished import DROPPED

SUMMARY = b"SELECT COUNT(*), MIN(id), MAX(id), BIT_XOR(id) FROM %b" % DROPPED
ADDED = (
    b"SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '%b' "
    b"AND COLUMN_NAME NOT IN ('id', 'call_id', 'event_type', 'payload', 'created_time') "
    b"AND COALESCE(GENERATION_EXPRESSION, '') = '' ORDER BY ORDINAL_POSITION" % DROPPED
)
PAGE = (
    b"SELECT id, call_id, event_type, DATE_FORMAT(created_time, '%%Y-%%m-%%dT%%H:%%i:%%s.%%fZ'), "
    b"CAST(payload AS CHAR)%b FROM " + DROPPED + b" WHERE id > %d AND id <= %d ORDER BY id"
)
SIZES = b"SELECT id, LENGTH(payload) FROM " + DROPPED + b" WHERE id > %d ORDER BY id LIMIT %d"
PAGE_ROWS = 200
"""A page takes a few milliseconds of the event loop."""
BELOW_ALL = -(1 << 63)


class DroppedRows:
    """Implements `ingest.retention.kept_rows.TakenRows`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def summary(self) -> Summary:
        events, first, last, ids_xor = (await self._connection.run(SUMMARY))[0]
        return Summary(int(events), int(first or 0), int(last or 0), int(ids_xor))

    async def pages(self) -> AsyncIterator[Sequence[StoredRow]]:
        """Columns that a user added come with their names. Bytes are hexadecimal digits after `0x`."""
        added = [str(row[0]) for row in await self._connection.run(ADDED)]
        columns = b"".join(b", `%b`" % name.replace("`", "``").encode() for name in added)
        after = BELOW_ALL
        while sizes := await self._connection.run(SIZES % (after, PAGE_ROWS)):
            last = last_id_of_page(sizes)
            rows = await self._connection.run(PAGE % (columns, after, last))
            after = last
            yield [_stored(row, added) for row in rows]


def _stored(row: Row, added: Sequence[str]) -> StoredRow:
    event_id, call_id, event_type, created, payload, *values = row
    columns = {name: _json(value) for name, value in zip(added, values, strict=True)}
    return int(event_id), call_id, event_type, created, payload, columns


def _json(value: object) -> object:
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)

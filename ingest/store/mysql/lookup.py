"""Searches of events on MySQL, within bounds; see `ingest.reading.base`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ingest.errors import StoreError
from ingest.events.batch import Batch
from ingest.events.batch_codec import pack, unpack_one
from ingest.events.ids import SEQUENCE_BITS, SLOTS_MAX, first_id_of, milliseconds_of, slot_of
from ingest.reading.base import (
    ENTRIES_SEEN_MAX,
    LISTED_PAYLOAD_BYTES_MAX,
    READ_SECONDS_MAX,
    SCAN_ROWS_MAX,
    EventPage,
    EventQuery,
    EventRow,
    WaitingEntry,
    entry_with,
)
from ingest.store.mysql.audit import MySQLAuditTable
from ingest.store.mysql.connection import Connection, Row
from ingest.store.mysql.errors import Duplicate
from ingest.store.mysql.partitioning.unfinished import check_whole
from ingest.store.mysql.statements.literals import quoted
from ingest.store.mysql.statements.outbox import INSERT_ENTRY

SELECT = b"/*M! SET STATEMENT max_statement_time = %d FOR */ SELECT /*+ MAX_EXECUTION_TIME(%d) */ " % (
    READ_SECONDS_MAX,
    READ_SECONDS_MAX * 1000,
)
"""Only MariaDB reads the comment with `M!`, and only MySQL the hint. Both end a search after the same time."""
COLUMNS = b"id, call_id, event_type, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_time), "
LISTED = COLUMNS + b"IF(LENGTH(payload) <= %d, CAST(payload AS CHAR), NULL)" % LISTED_PAYLOAD_BYTES_MAX
BY_TIME = b" FROM call_event_logs WHERE id BETWEEN %d AND %d"
BY_CALL = b" FROM call_event_logs IGNORE INDEX (PRIMARY) WHERE call_id = %b AND id BETWEEN %d AND %d"
"""The order by id would tempt the server to read the primary key from one end until it has found enough rows."""
ORDERED = b" ORDER BY id %b LIMIT %d"
LAST_SCANNED = SELECT + b"id" + BY_TIME + b" ORDER BY id %b LIMIT %d, 1"
ONE = SELECT + COLUMNS + b"CAST(payload AS CHAR) FROM call_event_logs WHERE id = %d"
ENTRIES = (
    SELECT
    + b"attempts, batch FROM ingest_outbox WHERE first_id BETWEEN %d AND %d AND first_id >> "
    + str(SEQUENCE_BITS).encode()
    + b" & %d = %d ORDER BY first_id DESC LIMIT %d"
)
EARLIER_MS = 1000
DEADLINE_SECONDS = READ_SECONDS_MAX + 1.0
"""The server should end a search first: its connection then stays usable."""


class MySQLEventLookup(MySQLAuditTable):
    """Implements `ingest.reading.base.EventLookup`. Searches have a connection of their own, opened at first use."""

    async def find_events(self, query: EventQuery, limit: int, scan_rows_max: int = SCAN_ROWS_MAX) -> EventPage:
        async with self._reading() as connection:
            last_id = await _last_scanned(connection, query, scan_rows_max)
            bounded = query if last_id is None else _until(query, last_id)
            found = await connection.run(statement_of(bounded, limit + 1))
            await check_whole(connection)  # afterwards, because a conversion may just have begun to move events
        rows = [_row(row) for row in found[:limit]]
        return EventPage(rows, rows[-1].id if len(found) > limit else last_id)

    async def event_row(self, event_id: int) -> EventRow | None:
        async with self._reading() as connection:
            found = await connection.run(ONE % event_id)
            if not found:
                await check_whole(connection)
        return _row(found[0]) if found else None

    async def outbox_entry_of(self, event_id: int) -> WaitingEntry | None:
        earliest = first_id_of(milliseconds_of(event_id) - EARLIER_MS)
        values = (earliest, event_id, SLOTS_MAX - 1, slot_of(event_id), ENTRIES_SEEN_MAX)
        async with self._reading() as connection:
            found = await connection.run(ENTRIES % values)
        entries = (entry_with(unpack_one(packed), event_id, attempts) for attempts, packed in found)
        return next(filter(None, entries), None)

    async def add_entries(self, batches: Sequence[Batch]) -> None:
        statements = [INSERT_ENTRY % (batch.first_id, len(batch), 0, quoted(pack(batch))) for batch in batches]
        async with self._reading() as connection:
            try:
                async with connection.transaction():
                    for statement in statements:
                        await connection.run(statement)
            except Duplicate as exc:
                raise StoreError("One of these is still being published; try again later.") from exc

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        async with self._deadline(DEADLINE_SECONDS), self._readers.connection() as connection:
            yield connection


async def _last_scanned(connection: Connection, query: EventQuery, rows_max: int) -> int | None:
    """The last id that a search by type may read for this page. None if it may read all selected ones."""
    if query.event_type is None or query.call_id is not None:
        return None
    values = (query.first_id, query.last_id, _direction(query), rows_max - 1)
    found = await connection.run(LAST_SCANNED % values)
    return int(found[0][0]) if found else None


def _until(query: EventQuery, last_id: int) -> EventQuery:
    ids = (last_id, query.last_id) if query.newest else (query.first_id, last_id)
    return EventQuery(query.call_id, query.event_type, *ids, query.newest)


def statement_of(query: EventQuery, limit: int) -> bytes:
    ids = (query.first_id, query.last_id)
    source = BY_TIME % ids if query.call_id is None else BY_CALL % (quoted(query.call_id.encode()), *ids)
    kind = b"" if query.event_type is None else b" AND event_type = " + quoted(query.event_type.encode())
    return SELECT + LISTED + source + kind + ORDERED % (_direction(query), limit)


def _direction(query: EventQuery) -> bytes:
    return b"DESC" if query.newest else b"ASC"


def _row(row: Row) -> EventRow:
    return EventRow(row[0], row[1], row[2], row[3], None if row[4] is None else row[4].encode())

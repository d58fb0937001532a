"""Searches of events on SQLite, within bounds; see `ingest.reading.base`."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ingest.errors import StoreError, StoreUnavailable
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
from ingest.sqlite import Connect, Database, connect
from ingest.store.sqlite.audit import SQLiteAuditTable
from ingest.store.sqlite.tables import translated, us_of

T = TypeVar("T")

FIND = f"""SELECT id, call_id, event_type, created_time,
    CASE WHEN LENGTH(CAST(payload AS BLOB)) <= {LISTED_PAYLOAD_BYTES_MAX} THEN payload END
    FROM call_event_logs WHERE """
BY_TIME = "id BETWEEN ? AND ?"
BY_CALL = "call_id = ? AND id BETWEEN ? AND ?"
LAST_SCANNED = "SELECT id FROM call_event_logs WHERE id BETWEEN ? AND ? ORDER BY id {} LIMIT 1 OFFSET ?"
ONE = "SELECT id, call_id, event_type, created_time, payload FROM call_event_logs WHERE id = ?"
ENTRIES = f"""SELECT attempts, batch FROM ingest_outbox WHERE first_id BETWEEN ? AND ?
    AND (first_id >> {SEQUENCE_BITS} & {SLOTS_MAX - 1}) = ? ORDER BY first_id DESC LIMIT ?"""
ADD_ENTRY = "INSERT INTO ingest_outbox (first_id, count, lease_until, batch) VALUES (?, ?, ?, ?)"
EARLIER_MS = 1000
STEPS = 10_000
"""Steps of SQLite's virtual machine between two looks at the clock."""
TOO_LONG = f"The search took longer than {READ_SECONDS_MAX:g} s. Choose a shorter time, or a call."


class SQLiteEventLookup(SQLiteAuditTable):
    """Implements `ingest.reading.base.EventLookup`. Searches have a connection and a thread of their own."""

    def __init__(
        self, path: Path, timeout_seconds: float, now_us: Callable[[], int], connect: Connect = connect
    ) -> None:
        super().__init__(path, timeout_seconds, now_us, connect)
        self._readers = Database(path, timeout_seconds, connect=connect)

    async def close(self) -> None:
        await self._database.close()
        await self._readers.close()

    async def find_events(self, query: EventQuery, limit: int, scan_rows_max: int = SCAN_ROWS_MAX) -> EventPage:
        def find(connection: sqlite3.Connection) -> EventPage:
            last_id = _last_scanned(connection, query, scan_rows_max)
            statement, values = statement_of(query, last_id)
            found = connection.execute(f"{statement} LIMIT ?", (*values, limit + 1)).fetchall()
            rows = [_row(row) for row in found[:limit]]
            return EventPage(rows, rows[-1].id if len(found) > limit else last_id)

        return await self._read(find)

    async def event_row(self, event_id: int) -> EventRow | None:
        found = await self._read(lambda connection: connection.execute(ONE, (event_id,)).fetchone())
        return _row(found) if found else None

    async def outbox_entry_of(self, event_id: int) -> WaitingEntry | None:
        earliest = first_id_of(milliseconds_of(event_id) - EARLIER_MS)
        values = (earliest, event_id, slot_of(event_id), ENTRIES_SEEN_MAX)
        found = await self._read(lambda connection: connection.execute(ENTRIES, values).fetchall())
        entries = (entry_with(unpack_one(packed), event_id, attempts) for attempts, packed in found)
        return next(filter(None, entries), None)

    async def add_entries(self, batches: Sequence[Batch]) -> None:
        now_ms = self._now_us() // 1000
        rows = [(batch.first_id, len(batch), now_ms, pack(batch)) for batch in batches]

        def add(connection: sqlite3.Connection) -> None:
            try:
                connection.executemany(ADD_ENTRY, rows)
            except sqlite3.IntegrityError as exc:
                raise StoreError("One of these is still being published; try again later.") from exc

        await self._transact(add)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def limited(connection: sqlite3.Connection) -> T:
            ends = time.monotonic() + READ_SECONDS_MAX
            connection.set_progress_handler(lambda: time.monotonic() > ends, STEPS)
            try:
                return work(connection)
            except sqlite3.OperationalError as exc:
                if str(exc) == "interrupted":
                    raise StoreUnavailable(TOO_LONG) from exc
                raise

        with translated():
            return await self._readers.run(limited)


def _last_scanned(connection: sqlite3.Connection, query: EventQuery, rows_max: int) -> int | None:
    """The last id that a search by type may read for this page. None if it may read all selected ones."""
    if query.event_type is None or query.call_id is not None:
        return None
    values = (query.first_id, query.last_id, rows_max - 1)
    found = connection.execute(LAST_SCANNED.format(_direction(query)), values).fetchone()
    return int(found[0]) if found else None


def statement_of(query: EventQuery, last_id: int | None) -> tuple[str, Sequence[str | int]]:
    first, last = query.first_id, query.last_id
    if last_id is not None:
        first, last = (last_id, last) if query.newest else (first, last_id)
    values: list[str | int] = [first, last]
    condition = BY_TIME
    if query.call_id is not None:
        condition, values = BY_CALL, [query.call_id, first, last]
    if query.event_type is not None:
        condition += " AND event_type = ?"
        values.append(query.event_type)
    return f"{FIND}{condition} ORDER BY id {_direction(query)}", values


def _direction(query: EventQuery) -> str:
    return "DESC" if query.newest else "ASC"


def _row(row: tuple[int, str, str, str, str | None]) -> EventRow:
    return EventRow(row[0], row[1], row[2], us_of(row[3]), None if row[4] is None else row[4].encode())

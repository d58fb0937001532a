"""Copies the original's rows to this service's table in chunks, while the service stores events.

A chunk is one transaction: the rows and the ids that they got. So a killed process leaves whole chunks, and the next
run copies the rows that have no id yet.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, tzinfo
from functools import partial

import msgspec

from ingest.errors import StoreError
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.errors import Retry
from ingest.store.mysql.laravel.numbering import NewRow, Numbering, OldRow, Window, id_of, known_time, tick_of
from ingest.store.mysql.laravel.options import Options, Progress
from ingest.store.mysql.laravel.tables import Table
from ingest.store.mysql.partitioning.partitions import Reached, database_now_us
from ingest.store.mysql.statements.literals import created_literal, listed

CREATED = b"TIMESTAMPDIFF(MICROSECOND, '1970-01-01', old.created_time)"
PAYLOAD = b"CONVERT(old.payload USING utf8mb4) COLLATE utf8mb4_bin"
CHUNK = (
    b"SELECT old.id, " + CREATED + b", m.old_id IS NULL, COALESCE(JSON_VALID(" + PAYLOAD + b"), 0) "
    b"FROM %b AS old LEFT JOIN ingest_adopted_ids AS m ON m.old_id = old.id WHERE old.id > %d ORDER BY old.id LIMIT %d"
)
FIRST_TIME = (
    b"SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_time) FROM "
    b"(SELECT created_time FROM %b ORDER BY id LIMIT %d) AS first WHERE created_time > '1970-01-02' LIMIT 1"
)
NEWEST = b"SELECT MAX(id) FROM ingest_adopted_ids WHERE id BETWEEN %d AND %d"
NEWEST_OF_SLOT = b"SELECT MAX(id) FROM ingest_adopted_ids WHERE id >> 10 & 4095 = %d"
NUMBER = b"INSERT INTO ingest_adopted_ids (old_id, id, created_time) VALUES %b"
_OF_PAYLOAD = b"CASE WHEN JSON_VALID(" + PAYLOAD + b") THEN JSON_UNQUOTE(JSON_EXTRACT(" + PAYLOAD + b", '$.%b')) END"
_TEXT = b"CONVERT(old.%b USING utf8mb4) COLLATE utf8mb4_bin"
COPY = (
    b"INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time) SELECT m.id, "
    b"LEFT(COALESCE(" + _TEXT % b"call_id" + b", " + _OF_PAYLOAD % b"call_id" + b", ''), 255), "
    b"LEFT(COALESCE(" + _TEXT % b"event_type" + b", " + _OF_PAYLOAD % b"event_type" + b", ''), 64), "
    b"CASE WHEN old.payload IS NULL THEN 'null' WHEN JSON_VALID(" + PAYLOAD + b") THEN " + PAYLOAD + b" "
    b"ELSE JSON_QUOTE(" + PAYLOAD + b") END, m.created_time "
    b"FROM ingest_adopted_ids AS m JOIN %b AS old ON old.id = m.old_id WHERE m.old_id IN (%b)"
)
"""A payload that is not JSON becomes a JSON string with the same characters."""
COUNT = b"SELECT COUNT(*) FROM %b"
BELOW_ALL = -1

LOAD_SHARE = 0.5
"""The share of time in which the copy works. Replicas and the commits of new events have the rest."""
FIRST_ROWS = 10_000
"""Rows in which a row without a time at the table's begin looks for one."""
RETRIES_MAX = 5
RETRY_SECONDS = 0.1


class Copied(msgspec.Struct):
    """Counts of one run. `untimed` and `no_json` are rows that were repaired."""

    rows: int = 0
    untimed: int = 0
    no_json: int = 0


class RowCopy:
    """`slot` makes the ids of all rows."""

    def __init__(
        self,
        connection: Connection,
        original: Table,
        slot: int,
        options: Options,
        progress: Progress,
        reached: Reached = lambda _: None,
    ) -> None:
        self._connection = connection
        self._table = original.name.encode()
        self._unit_us = original.unit_us
        self._slot = slot
        self._options = options
        self._progress = progress
        self._reached = reached

    async def run(self) -> Copied:
        """Copy all rows that have no id of this service. Raises `StoreError`; whole chunks are kept."""
        now_us = await database_now_us(self._connection)
        newest = (await self._connection.run(NEWEST_OF_SLOT % self._slot))[0][0]
        numbering = Numbering(self._slot, tick_of(newest) if newest else 0, self._unit_us)
        total = int((await self._connection.run(COUNT % self._table))[0][0])
        before_us = await self._first_time(now_us)
        copied, done, after = Copied(), 0, BELOW_ALL
        while rows := await self._connection.run(CHUNK % (self._table, after, self._options.chunk_rows)):
            started = time.monotonic()
            old = [OldRow(row[0], known_time(self._utc_us(row[1]), now_us)) for row in rows if row[2]]
            if old:
                new = numbering.number(old, await self._last_ticks(numbering.windows(old)), before_us)
                await insist(partial(self._store, new))
                copied.rows += len(new)
                copied.untimed += sum(row.created_us is None for row in old)
                copied.no_json += sum(bool(row[2]) and not row[3] for row in rows)
            before_us = next((us for row in rows[::-1] if (us := known_time(self._utc_us(row[1]), now_us))), before_us)
            after, done = rows[-1][0], done + len(rows)
            self._progress(done, total)
            self._reached("copied")
            if old:
                await asyncio.sleep((time.monotonic() - started) * (1 / LOAD_SHARE - 1))
        return copied

    async def _first_time(self, now_us: int) -> int:
        rows = await self._connection.run(FIRST_TIME % (self._table, FIRST_ROWS))
        return known_time(self._utc_us(rows[0][0]), now_us) or now_us if rows else now_us

    def _utc_us(self, local_us: int | None) -> int | None:
        return None if local_us is None or local_us <= 0 else in_utc(local_us, self._options.zone)

    async def _last_ticks(self, windows: Sequence[Window]) -> dict[Window, int]:
        last = {}
        for window in windows:
            bounds = id_of(window.start, 0), id_of(window.end, 0) - 1
            newest = (await self._connection.run(NEWEST % bounds))[0][0]
            if newest is not None:
                last[window] = tick_of(newest)
        return last

    async def _store(self, rows: Sequence[NewRow]) -> None:
        values = b",".join(b"(%d,%d,%b)" % (row.old_id, row.id, created_literal(row.created_us)) for row in rows)
        async with self._connection.transaction():
            await self._connection.run(NUMBER % values)
            stored = await self._connection.change(COPY % (self._table, listed(row.old_id for row in rows)))
            if stored != len(rows):
                raise StoreError(
                    f"{len(rows) - stored} of {len(rows)} rows of {self._table.decode()} vanished while they were "
                    "copied. This chunk was not kept: end what deletes them, and run the command again."
                )


async def insist(work: Callable[[], Awaitable[None]]) -> None:
    """Repeat a transaction that met another one. Raises `StoreError`."""
    for attempt in range(1, RETRIES_MAX + 1):
        try:
            await work()
        except Retry:
            if attempt == RETRIES_MAX:
                raise
            await asyncio.sleep(attempt * RETRY_SECONDS)
        else:
            return


def in_utc(local_us: int, zone: tzinfo) -> int:
    """Unix microseconds of a local time, which is given as if it were UTC."""
    local = datetime.fromtimestamp(local_us // 1_000_000, UTC).replace(tzinfo=zone)
    return int(local.timestamp()) * 1_000_000 + local_us % 1_000_000


def in_zone(utc_us: int, zone: tzinfo) -> int:
    """The reverse of `in_utc`."""
    there = datetime.fromtimestamp(utc_us // 1_000_000, zone).replace(tzinfo=UTC)
    return int(there.timestamp()) * 1_000_000 + utc_us % 1_000_000

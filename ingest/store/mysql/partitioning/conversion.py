"""Converts a `call_event_logs` without partitions to one with partitions, while the service stores events.

A new table takes its place at once, and the rows are copied to it in chunks. A process may be killed after any step.
The next `run` finds out from the tables how far it came.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime

from ingest.clock import NowUs, check_clocks
from ingest.errors import StoreError
from ingest.retention.partitions import AHEAD_DAYS, ONE_DAY, check_rows, day_of, days
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.partitioning.partitions import (
    BOUNDS,
    REMOVE,
    Reached,
    database_now_us,
    definitions,
    partitions_of,
    sampled,
)
from ingest.store.mysql.partitioning.unfinished import EVENTS, NEW, OLD, existing

MAKE = b"CREATE TABLE %b LIKE call_event_logs"
PARTITION = b"ALTER TABLE %b PARTITION BY RANGE (id) (%b)"
SWAP = b"RENAME TABLE call_event_logs TO %b, %b TO call_event_logs"
RENAME = b"RENAME TABLE %b TO call_event_logs"
COLUMNS = (
    b"SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '%b' "
    b"AND COALESCE(GENERATION_EXPRESSION, '') = '' ORDER BY ORDINAL_POSITION"
)
ATTACHED = (
    b"SELECT CONCAT('trigger ', TRIGGER_NAME) FROM information_schema.TRIGGERS "
    b"WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = 'call_event_logs' UNION ALL "
    b"SELECT CONCAT('foreign key ', CONSTRAINT_NAME) FROM information_schema.REFERENTIAL_CONSTRAINTS "
    b"WHERE CONSTRAINT_SCHEMA = DATABASE() AND 'call_event_logs' IN (TABLE_NAME, REFERENCED_TABLE_NAME)"
)
COUNT = b"SELECT COUNT(*) FROM %b"
CHUNK = b"SELECT MAX(id), COUNT(*) FROM (SELECT id FROM %b WHERE id > %d ORDER BY id LIMIT %d) AS chunk"
BESIDE = b"FROM %b AS old LEFT JOIN call_event_logs AS new ON new.id = old.id WHERE old.id > %d AND old.id <= %d AND "
COPY = b"INSERT IGNORE INTO call_event_logs (%b) SELECT %b " + BESIDE + b"new.id IS NULL"
"""IGNORE: a killed conversion may have copied some rows, and a drainer may insert a row from its spool first."""
NOT_COPIED = (
    b"SELECT old.id " + BESIDE + b"(new.id IS NULL OR NOT (new.call_id <=> old.call_id "
    b"AND new.event_type <=> old.event_type AND new.created_time <=> old.created_time)) LIMIT 1"
)
BELOW_ALL = -(1 << 63)

CHUNK_ROWS = 5000
PAUSE_SECONDS = 0.01
"""The pause between two chunks lets the commits of new events go first."""

Report = Callable[[int, int], object]


class Conversion:
    """Needs a connection that holds the lock of the partitions. Raises `StoreError`.

    It calls `report` with the numbers of copied rows and of all rows, and `reached` with the step that has ended.
    """

    def __init__(
        self, connection: Connection, now_us: NowUs, report: Report, reached: Reached = lambda _: None
    ) -> None:
        self._connection = connection
        self._now_us = now_us
        self._report = report
        self._reached = reached

    async def run(self) -> int:
        """Convert the table, or finish an interrupted conversion. Return the number of rows copied now."""
        if not await existing(self._connection, OLD):
            await self._check_convertible()
            await self._swap(await self._today())
        else:
            await self._check_resumable()
        moved = await self._copy()
        await self._connection.run(REMOVE % OLD)
        self._reached("removed")
        return moved

    async def _check_convertible(self) -> None:
        """Raises `StoreError` if the conversion would lose anything, or if the ids do not hold the time."""
        if await partitions_of(self._connection):
            raise StoreError("call_event_logs is partitioned already.")
        if attached := [row[0] for row in await self._connection.run(ATTACHED)]:
            raise StoreError(
                f"call_event_logs has {', '.join(attached)}, which a partitioned table cannot have. Nothing was "
                "changed: drop them first."
            )
        check_rows(await sampled(self._connection, EVENTS), EVENTS.decode())
        if await existing(self._connection, NEW) and (await self._connection.run(BOUNDS % NEW))[0][0] is not None:
            raise StoreError(f"{NEW.decode()} has rows. Nothing was changed: look at them, and drop or rename it.")

    async def _check_resumable(self) -> None:
        """Raises `StoreError` if this is no interrupted conversion.

        Current servers rename both tables or none. An older server may have been killed between the two.
        """
        if not await existing(self._connection, EVENTS) and await existing(self._connection, NEW):
            await self._connection.run(RENAME % NEW)
        if not await partitions_of(self._connection):
            raise StoreError(
                f"{OLD.decode()} exists, but call_event_logs has no partitions: no conversion leaves such tables. "
                f"Nothing was changed: look at {OLD.decode()}, and rename it."
            )

    async def _today(self) -> date:
        before_us = self._now_us()
        now_us = await database_now_us(self._connection)
        check_clocks(before_us, now_us, self._now_us())
        return datetime.fromtimestamp(now_us / 1e6, UTC).date()

    async def _swap(self, today: date) -> None:
        first = (await self._connection.run(BOUNDS % EVENTS))[0][0]
        oldest = today if first is None else min(today, day_of(first))
        if await existing(self._connection, NEW):
            await self._connection.run(REMOVE % NEW)  # it is empty: `_check_convertible` has looked
        await self._connection.run(MAKE % NEW)
        self._reached("made")
        await self._connection.run(PARTITION % (NEW, definitions(days(oldest, today + ONE_DAY * AHEAD_DAYS))))
        self._reached("partitioned")
        await self._connection.run(SWAP % (OLD, NEW))
        self._reached("swapped")

    async def _copy(self) -> int:
        """Copy all missing rows. Each chunk is compared with the old rows before the next one."""
        names = [b"`" + str(row[0]).encode() + b"`" for row in await self._connection.run(COLUMNS % OLD)]
        columns, of_old = b", ".join(names), b", ".join(b"old." + name for name in names)
        total = int((await self._connection.run(COUNT % OLD))[0][0])
        moved, done, after = 0, 0, BELOW_ALL
        while (chunk := (await self._connection.run(CHUNK % (OLD, after, CHUNK_ROWS)))[0])[0] is not None:
            last, rows = int(chunk[0]), int(chunk[1])
            moved += await self._connection.change(COPY % (columns, of_old, OLD, after, last))
            await self._check_copied(after, last)
            after, done = last, done + rows
            self._report(done, total)
            self._reached("copied")
            await asyncio.sleep(PAUSE_SECONDS)
        return moved

    async def _check_copied(self, after: int, last: int) -> None:
        if rows := await self._connection.run(NOT_COPIED % (OLD, after, last)):
            raise StoreError(
                f"Event {rows[0][0]} of {OLD.decode()} is not in call_event_logs, or another event has its id. Both "
                "tables are kept: look at these rows, correct them, and run `ingest retention --convert` again."
            )

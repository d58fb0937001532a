"""Partitions of `call_event_logs` on MySQL and MariaDB: made ahead, dropped, and how a table without gets them."""

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import date

from ingest.errors import StoreError
from ingest.retention import AHEAD_DAYS, LAST, ONE_DAY, Partition, day_of, days, end_of, name_of
from ingest.store.mysql_connection import Connection
from ingest.store.mysql_pool import Servers

LOCK_WAIT = b"SET SESSION lock_wait_timeout = 5"
"""While a change of the table waits for a long query, all commits wait behind it: rather fail, and be tried again."""
GET_LOCK = b"SELECT GET_LOCK(CONCAT('ingest_retention.', LEFT(DATABASE(), 40)), %d)"
PARTITIONS = (
    b"SELECT PARTITION_NAME, PARTITION_DESCRIPTION, TABLE_ROWS, DATA_LENGTH + INDEX_LENGTH "
    b"FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'call_event_logs' "
    b"ORDER BY PARTITION_ORDINAL_POSITION"
)
TABLES = b"SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN (%b)"
NEEDED = (
    b"SELECT MIN(id) FROM (SELECT MIN(first_id) AS id FROM ingest_outbox "
    b"UNION ALL SELECT MIN(event_id) FROM ingest_dead_letters) AS unpublished"
)
REORGANIZE = b"ALTER TABLE call_event_logs REORGANIZE PARTITION pmax INTO (%b)"
DROPPED = b"call_event_logs_dropped"
EXCHANGE = b"ALTER TABLE call_event_logs EXCHANGE PARTITION %b WITH TABLE %b"
DROP = b"ALTER TABLE call_event_logs DROP PARTITION %b"
DEFINITION = b"SHOW CREATE TABLE call_event_logs"
NAME = "CREATE TABLE `call_event_logs`"
PARTITIONED = re.compile(r"\s+(/\*!\d+ )?PARTITION BY ")
"""In a definition, where that of its partitions begins; MySQL has that in a comment for versions that know them."""
BOUNDS = b"SELECT MIN(id), MAX(id), COUNT(*) FROM call_event_logs"
OLD, NEW = b"call_event_logs_unpartitioned", b"call_event_logs_partitioned"
MAKE = b"CREATE TABLE %b LIKE call_event_logs"
PARTITION = b"ALTER TABLE %b PARTITION BY RANGE (id) (%b)"
SWAP = b"RENAME TABLE call_event_logs TO %b, %b TO call_event_logs"
COPIED = b"SELECT COALESCE(MAX(id), 0) FROM call_event_logs WHERE id <= (SELECT COALESCE(MAX(id), 0) FROM %b)"
LEFT = b"SELECT COUNT(*) FROM %b WHERE id > %d"
CHUNK_END = b"SELECT MAX(id) FROM (SELECT id FROM %b WHERE id > %d ORDER BY id LIMIT %d) AS chunk"
COPY = b"INSERT IGNORE INTO call_event_logs SELECT * FROM %b WHERE id > %d AND id <= %d"
COPY_MISSING = (
    b"INSERT IGNORE INTO call_event_logs SELECT old.* FROM %b AS old "
    b"LEFT JOIN call_event_logs AS new ON new.id = old.id WHERE new.id IS NULL"
)
REMOVE = b"DROP TABLE %b"

CHUNK_ROWS = 5000
PAUSE_SECONDS = 0.01
"""Between two chunks: the commits of new events come first."""


class PartitionedTable:
    """One connection, used by one command at a time. Raises `StoreError`s."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, servers: Servers, timeout_seconds: float) -> "PartitionedTable":
        connection = await servers.connect(timeout_seconds)
        await connection.run(LOCK_WAIT)
        return cls(connection)

    async def close(self) -> None:
        await self._connection.end()

    async def lock(self, seconds_max: int) -> bool:
        """Whether nobody else changes the partitions of this database, until `close`; waits so long for who does."""
        return bool((await self._connection.run(GET_LOCK % seconds_max))[0][0])

    async def partitions(self) -> list[Partition]:
        """In their order; empty if the table has none."""
        rows = await self._connection.run(PARTITIONS)
        return [
            Partition(row[0], None if row[1] == "MAXVALUE" else int(row[1]), int(row[2] or 0), int(row[3] or 0))
            for row in rows
            if row[0]
        ]

    async def oldest_needed(self) -> int | None:
        """The oldest event that is not published, or given up."""
        value = (await self._connection.run(NEEDED))[0][0]
        return None if value is None else int(value)

    async def create(self, of_days: Sequence[date]) -> None:
        """Behind all others."""
        if of_days:
            await self._connection.run(REORGANIZE % _definitions(of_days))

    async def drop(self, partition: Partition) -> None:
        """Its rows become a table of their own first: to remove them takes a while, and holds no lock of this one then.

        After an interruption that table is removed by the next call.
        """
        name = partition.name.encode()
        if await self._exists(DROPPED):
            await self._connection.run(REMOVE % DROPPED)
        await self._connection.run(await self._definition_of(DROPPED))
        await self._connection.run(EXCHANGE % (name, DROPPED))
        await self._connection.run(DROP % name)
        await self._connection.run(REMOVE % DROPPED)

    async def _definition_of(self, table: bytes) -> bytes:
        """Makes a table like this one, but for the partitions: not by LIKE, which makes a file for each of them."""
        definition = str((await self._connection.run(DEFINITION))[0][1])
        unpartitioned = PARTITIONED.split(definition, maxsplit=1)[0]
        return unpartitioned.replace(NAME, f"CREATE TABLE `{table.decode()}`", 1).encode()

    async def convert(self, today: date, told: Callable[[int, int], object]) -> int:
        """Partition a table that is not, while events are stored: how many rows were moved.

        A new table takes its place at once, and the rows follow it in chunks; `told` how many are there of how many.
        After an interruption the same call goes on.
        """
        if not await self._exists(OLD):
            await self._swap(today)
        copied = int((await self._connection.run(COPIED % OLD))[0][0])
        moved, total = 0, int((await self._connection.run(LEFT % (OLD, copied)))[0][0])
        while (end := (await self._connection.run(CHUNK_END % (OLD, copied, CHUNK_ROWS)))[0][0]) is not None:
            moved += await self._connection.change(COPY % (OLD, copied, end))
            copied = int(end)
            told(moved, total)
            await asyncio.sleep(PAUSE_SECONDS)
        # Rows that came from a spool meanwhile may have made it look as if older ones had been copied.
        moved += await self._connection.change(COPY_MISSING % OLD)
        await self._connection.run(REMOVE % OLD)
        return moved

    async def _swap(self, today: date) -> None:
        if await self.partitions():
            raise StoreError("call_event_logs is partitioned already.")
        first = (await self._connection.run(BOUNDS))[0][0]
        oldest = min(today, day_of(first)) if first else today
        if await self._exists(NEW):
            await self._connection.run(REMOVE % NEW)
        await self._connection.run(MAKE % NEW)
        await self._connection.run(PARTITION % (NEW, _definitions(days(oldest, today + ONE_DAY * AHEAD_DAYS))))
        await self._connection.run(SWAP % (OLD, NEW))

    async def _exists(self, table: bytes) -> bool:
        return bool(await self._connection.run(TABLES % (b"'" + table + b"'")))


def _definitions(of_days: Sequence[date]) -> bytes:
    parts = [f"PARTITION {name_of(day)} VALUES LESS THAN ({end_of(day)})" for day in of_days]
    return ", ".join([*parts, f"PARTITION {LAST} VALUES LESS THAN MAXVALUE"]).encode()

"""Creates and drops partitions of `call_event_logs` on MySQL and MariaDB."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date

from ingest.errors import StoreError, StoreUnavailable
from ingest.retention.kept_rows import Keep, keep_nothing
from ingest.retention.partitions import LAST, Facts, Partition, Row, check_rows, end_of, name_of
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.partitioning.dropped_rows import DroppedRows
from ingest.store.mysql.partitioning.unfinished import DROPPED, EVENTS, check_whole, existing
from ingest.store.mysql.pool import Servers

SESSION = b"""SET SESSION lock_wait_timeout = 5 /*M! , alter_algorithm = 'DEFAULT' */;
/*!80000 SET SESSION information_schema_stats_expiry = 0 */"""
"""While a change of the table waits for a long query, all commits wait behind it. So it fails soon, and a later round
tries again. MySQL would otherwise report sizes that are up to a day old."""
QUERY_SECONDS_MAX = 3600.0
"""No query of a day's rows takes as long. A lost answer would otherwise end retention until the next start."""
GET_LOCK = b"SELECT GET_LOCK(CONCAT('ingest_retention.', LEFT(DATABASE(), 40)), %d)"
PARTITIONS = (
    b"SELECT PARTITION_NAME, PARTITION_DESCRIPTION, TABLE_ROWS, DATA_LENGTH + INDEX_LENGTH, PARTITION_METHOD, "
    b"PARTITION_EXPRESSION, SUBPARTITION_NAME "
    b"FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'call_event_logs' "
    b"ORDER BY PARTITION_ORDINAL_POSITION"
)
NOW_US = b"SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
NEWEST = b"SELECT MAX(id) FROM call_event_logs"
NEEDED = (
    b"SELECT MIN(id) FROM (SELECT MIN(first_id) AS id FROM ingest_outbox "
    b"UNION ALL SELECT MIN(event_id) FROM ingest_dead_letters) AS unpublished"
)
BOUNDS = b"SELECT MIN(id), MAX(id) FROM %b"
ROW_FROM = (
    b"(SELECT id, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_time) FROM %b WHERE id >= %d ORDER BY id LIMIT 1)"
)
ROW_FORMAT = (
    b"SELECT ROW_FORMAT FROM information_schema.TABLES "
    b"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'call_event_logs'"
)
REORGANIZE = b"ALTER TABLE call_event_logs REORGANIZE PARTITION pmax INTO (%b)"
EXCHANGE = b"ALTER TABLE call_event_logs EXCHANGE PARTITION %b WITH TABLE %b"
DROP = b"ALTER TABLE call_event_logs DROP PARTITION %b"
LOCK = b"LOCK TABLES call_event_logs WRITE"
UNLOCK = b"UNLOCK TABLES"
ANY = b"SELECT 1 FROM call_event_logs PARTITION (%b) LIMIT 1"
REMOVE = b"DROP TABLE %b"
DEFINITION = b"SHOW CREATE TABLE call_event_logs"
NAME = "CREATE TABLE `call_event_logs`"
PARTITIONED = re.compile(r"\s+(/\*!\d+ )?PARTITION BY ")
"""Matches the begin of the partitions in a definition. MySQL puts them in a version comment."""

SAMPLED = 16
"""Rows that are read from a table or partition, evenly spread by id, besides the first and the last."""
BY_HAND = (
    "{} holds events {} to {}, which an interrupted drop had taken out of call_event_logs, but {}. They are kept "
    "there. To bring them back: INSERT IGNORE INTO call_event_logs SELECT * FROM {}; then DROP TABLE {}."
)

NO_LOCK = (
    "call_event_logs cannot be locked, so its empty day is not dropped. The day's rows are archived, and stay in "
    "call_event_logs_dropped until the next check. The user needs the right LOCK TABLES."
)

Reached = Callable[[str], object]
"""Called with the step that has ended. Tests kill the process there."""


class PartitionedTable:
    """Implements `ingest.retention.partitions.Table` on one connection, for one command at a time."""

    def __init__(self, connection: Connection, reached: Reached = lambda _: None) -> None:
        self.connection = connection
        self._reached = reached

    @classmethod
    async def open(
        cls, servers: Servers, timeout_seconds: float, query_seconds_max: float = QUERY_SECONDS_MAX
    ) -> "PartitionedTable":
        connection = await servers.connect(timeout_seconds)
        connection.query_seconds_max = query_seconds_max
        try:
            await connection.run(SESSION)
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    async def close(self) -> None:
        await self.connection.end()

    async def lock(self, seconds_max: int) -> bool:
        """Lock the partitions of this database until `close`. Return False if another process still holds the lock."""
        return bool((await self.connection.run(GET_LOCK % seconds_max))[0][0])

    async def check(self) -> None:
        await check_whole(self.connection)
        check_rows(await sampled(self.connection, EVENTS), "call_event_logs")

    async def facts(self) -> Facts:
        partitions = await partitions_of(self.connection)
        newest = (await self.connection.run(NEWEST))[0][0]
        needed = (await self.connection.run(NEEDED))[0][0]
        now_us = (await self.connection.run(NOW_US))[0][0]
        return Facts(int(now_us), partitions, newest, None if needed is None else int(needed))

    async def sample(self, partition: Partition) -> list[Row]:
        return await sampled(self.connection, b"call_event_logs PARTITION (%b)" % partition.name.encode())

    async def create(self, of_days: Sequence[date]) -> None:
        """Create these days after all others."""
        if of_days:
            await self.connection.run(REORGANIZE % definitions(of_days))

    async def finish_drop(self, before_id: int, keep: Keep) -> None:
        """Remove what an interrupted `drop` left. The table's name proves nothing, so its rows are checked first."""
        if await existing(self.connection, DROPPED):
            await self._check_dropped(before_id)
            await keep(DroppedRows(self.connection))
            await self.connection.run(REMOVE % DROPPED)

    async def drop(self, partition: Partition, keep: Keep) -> bool:
        """Move the rows to a separate table, and drop that: it takes a while, but holds no lock of the events' table.

        Nothing writes to the separate table, so its rows are checked and kept before it is dropped. After an
        interruption `finish_drop` does both. Rows that come late meanwhile stay in the partition, and return False.
        """
        name = partition.name.encode()
        await self.connection.run(await self._definition_of(DROPPED))
        self._reached("made")
        await self.connection.run(EXCHANGE % (name, DROPPED))
        self._reached("exchanged")
        await self._check_dropped(partition.end or 0)
        try:
            await keep(DroppedRows(self.connection))
        except Exception:
            await self._bring_back(name)
            raise
        self._reached("kept")
        dropped = await self._drop_empty(name, needs_lock=keep is not keep_nothing)
        self._reached("dropped")
        await self.connection.run(REMOVE % DROPPED)
        return dropped

    async def _drop_empty(self, name: bytes, *, needs_lock: bool) -> bool:
        """Drop the partition unless late rows have come. The lock lets none come between the look and the drop."""
        try:
            await self.connection.run(LOCK)
        except StoreUnavailable as exc:  # an older installation may not have granted this right
            if needs_lock:
                raise StoreError(f"{NO_LOCK} ({exc})") from exc
        try:
            if await self.connection.run(ANY % name):
                return False
            await self.connection.run(DROP % name)
            return True
        finally:
            await self.connection.run(UNLOCK)

    async def _bring_back(self, name: bytes) -> None:
        """Put the rows back into their partition. Rows that came late meanwhile change places with them.

        The separate table then has the late rows, if there are any: `finish_drop` keeps these first.
        """
        with suppress(StoreError):  # the first error matters; `unfinished` reports a table that stays
            await self.connection.run(EXCHANGE % (name, DROPPED))
            if (await self.connection.run(BOUNDS % DROPPED))[0][0] is None:
                await self.connection.run(REMOVE % DROPPED)

    async def _check_dropped(self, before_id: int) -> None:
        first, last = (await self.connection.run(BOUNDS % DROPPED))[0]
        if first is None:
            return
        table = DROPPED.decode()
        if last >= before_id:
            raise StoreError(BY_HAND.format(table, first, last, "they are not all beyond their time", table, table))
        needed = (await self.connection.run(NEEDED))[0][0]
        if needed is not None and needed <= last:
            raise StoreError(BY_HAND.format(table, first, last, "some are not published", table, table))
        check_rows(await sampled(self.connection, DROPPED), table)

    async def _definition_of(self, table: bytes) -> bytes:
        """The SQL of the same table without partitions. LIKE would first create a file for each partition."""
        definition = str((await self.connection.run(DEFINITION))[0][1])
        unpartitioned = PARTITIONED.split(definition, maxsplit=1)[0]
        if "ROW_FORMAT=" not in unpartitioned:  # an older version did not state it, and the default may change
            unpartitioned += f" ROW_FORMAT={(await self.connection.run(ROW_FORMAT))[0][0]}"
        return unpartitioned.replace(NAME, f"CREATE TABLE `{table.decode()}`", 1).encode()


async def partitions_of(connection: Connection) -> list[Partition]:
    """The partitions in order; empty if there are none. Raises `StoreError` if they are not ranges of ids."""
    rows = [row for row in await connection.run(PARTITIONS) if row[0]]
    for name, end, _, _, method, expression, part in rows:
        if method != "RANGE" or str(expression).strip("`() ") != "id" or part:
            by = f"{method} ({expression}){' with subpartitions' if part else ''}"
            raise StoreError(
                f"call_event_logs is partitioned by {by} (partition {name}, {end}): this service did not do that, and "
                "drops only partitions by ranges of id. Nothing was dropped or made: drop these partitions by hand."
            )
    return [
        Partition(row[0], None if row[1] == "MAXVALUE" else int(row[1]), int(row[2] or 0), int(row[3] or 0))
        for row in rows
    ]


async def sampled(connection: Connection, table: bytes) -> list[Row]:
    """The first and the last row of a table, and some between. Each is found by its key."""
    first, last = (await connection.run(BOUNDS % table))[0]
    if first is None:
        return []
    starts = sorted({first + (last - first) * number // (SAMPLED + 1) for number in range(SAMPLED + 2)})
    rows = await connection.run(b" UNION ALL ".join(ROW_FROM % (table, start) for start in starts))
    return [Row(*row) for row in rows]


async def database_now_us(connection: Connection) -> int:
    return int((await connection.run(NOW_US))[0][0])


def definitions(of_days: Sequence[date]) -> bytes:
    parts = [f"PARTITION {name_of(day)} VALUES LESS THAN ({end_of(day)})" for day in of_days]
    return ", ".join([*parts, f"PARTITION {LAST} VALUES LESS THAN MAXVALUE"]).encode()

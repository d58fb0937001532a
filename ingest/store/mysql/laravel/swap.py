"""Makes the tables of an adoption, and puts the original's or this service's `call_event_logs` in place.

Each exchange is one RENAME: other clients see the one table or the other, never neither.
"""

import asyncio

from ingest.errors import StoreError
from ingest.events.ids import LEASED_SLOTS_MAX
from ingest.store.base import ALL_LEASED
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.errors import Duplicate, Retry
from ingest.store.mysql.laravel.tables import ASIDE, IDS, NEW, OURS, SENT, Tables
from ingest.store.mysql.partitioning.partitions import Reached
from ingest.store.mysql.partitioning.unfinished import EVENTS
from ingest.store.mysql.statements.slots import NEXT_SLOT
from ingest.store.table_shapes import statements

MAKE_IDS = (
    b"""CREATE TABLE IF NOT EXISTS %b (
    old_id BIGINT UNSIGNED NOT NULL, id BIGINT NOT NULL, created_time DATETIME(6) NOT NULL,
    PRIMARY KEY (old_id), UNIQUE KEY ingest_adopted_ids_id (id)) ENGINE = InnoDB ROW_FORMAT = DYNAMIC"""
    % IDS
)
"""The original's id of each row. Only databases that were moved over have it, so it is no migration."""
MAKE_SENT = (
    b"""CREATE TABLE IF NOT EXISTS %b (
    event_id BIGINT NOT NULL, job_id BIGINT UNSIGNED NOT NULL, failed TINYINT NOT NULL, PRIMARY KEY (event_id))
    ENGINE = InnoDB ROW_FORMAT = DYNAMIC"""
    % SENT
)
"""The message that each job became."""
SLOT_OF = b"SELECT slot FROM ingest_slots WHERE node = '%b'"
KEEP_SLOT = b"INSERT INTO ingest_slots (slot, node, life, lease_until, floor_ms) VALUES (%d, '%b', '', '9999-12-31', 0)"
"""The lease never ends, so no worker ever makes an id of this slot."""
RENAME = b"RENAME TABLE %b TO %b, %b TO %b"
RENAME_ONE = b"RENAME TABLE %b TO %b"
NEWEST = b"SELECT COALESCE(MAX(id), 0) FROM %b"
UNPUBLISHED = b"SELECT COUNT(*) FROM (SELECT 1 FROM %bingest_outbox LIMIT 1000) AS entries"

ROWS_NODE, JOBS_NODE = b"adopted rows", b"adopted jobs"
RENAMES_MAX = 3


class Swap:
    """Raises `StoreError`, after which nothing has changed, or all."""

    def __init__(self, connection: Connection, still_seconds: float, reached: Reached = lambda _: None) -> None:
        self._connection = connection
        self._still_seconds = still_seconds
        self._reached = reached

    async def prepare(self) -> None:
        """Make the tables of old ids and of sent jobs."""
        await self._connection.run(MAKE_IDS)
        await self._connection.run(MAKE_SENT)
        self._reached("prepared")

    async def kept_slot(self, node: bytes) -> int:
        """The id slot of this name, which is reserved at the first call. Raises `StoreError` if all are leased."""
        while not (found := await self._connection.run(SLOT_OF % node)):
            slot = int((await self._connection.run(NEXT_SLOT))[0][0])
            if slot >= LEASED_SLOTS_MAX:
                raise StoreError(ALL_LEASED)
            try:
                await self._connection.run(KEEP_SLOT % (slot, node))
            except Duplicate:
                continue  # a worker has just leased it
        return int(found[0][0])

    async def forward(self, tables: Tables) -> None:
        """Put the original's table aside, and this service's in its place."""
        if tables.swapped or tables.original is None:
            return
        ours = OURS if tables.ours else NEW
        if tables.events is None:  # a server without atomic DDL stopped between the two, or somebody dropped it
            if tables.ours or tables.new:
                await self._rename(RENAME_ONE % (ours, EVENTS))
            return
        await self._check_still(EVENTS)
        if not tables.ours and not tables.new:
            definition = statements()[EVENTS.decode()]
            await self._connection.run(definition.encode().replace(EVENTS, NEW, 1))
            self._reached("made")
        await self._rename(RENAME % (EVENTS, ASIDE, ours, EVENTS))
        self._reached("swapped")

    async def back(self, tables: Tables) -> None:
        """Put this service's table aside, and the original's in its place."""
        if not tables.swapped:
            return
        await self._check_still(EVENTS)
        await self.check_published(b"")
        await self._rename(RENAME % (EVENTS, OURS, ASIDE, EVENTS))
        self._reached("swapped back")

    async def check_published(self, database: bytes) -> None:
        """Raises `StoreError` while the outbox has messages, as the original publishes none of them."""
        if entries := (await self._connection.run(UNPUBLISHED % database))[0][0]:
            raise StoreError(
                f"The outbox still has {entries} entries. Nothing was exchanged: let the service publish them first, "
                "and look at /status.json."
            )

    async def _check_still(self, table: bytes) -> None:
        """Raises `StoreError` while somebody stores events: the exchange would refuse his next one."""
        before = (await self._connection.run(NEWEST % table))[0][0]
        await asyncio.sleep(self._still_seconds)
        if (await self._connection.run(NEWEST % table))[0][0] != before:
            raise StoreError(
                f"Another program still stores events in {table.decode()}. Nothing was exchanged: take it out of the "
                "balancer, and run the command again."
            )

    async def _rename(self, statement: bytes) -> None:
        """Each try waits at most `lock_wait_timeout`, as all other clients wait behind it."""
        for attempt in range(1, RENAMES_MAX + 1):
            try:
                await self._connection.run(statement)
            except Retry as exc:
                if attempt == RENAMES_MAX:
                    raise StoreError(
                        f"A long query or transaction uses call_event_logs ({exc}) Nothing was exchanged: end it, "
                        "and run the command again."
                    ) from exc
            else:
                return

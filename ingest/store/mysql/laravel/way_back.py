"""The way back to the original: this service's events in the original's table, and that table in place."""

import re
from collections.abc import AsyncIterator

from ingest.errors import StoreError
from ingest.events.ids import LEASED_SLOTS_MAX
from ingest.store.base import ALL_LEASED
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.laravel.back import BackCopy
from ingest.store.mysql.laravel.options import Options, Progress
from ingest.store.mysql.laravel.swap import Swap
from ingest.store.mysql.laravel.tables import IDS, OURS, Table, Tables, look, table
from ingest.store.mysql.partitioning.partitions import Reached
from ingest.store.mysql.partitioning.unfinished import EVENTS, existing
from ingest.store.mysql.statements.slots import NEXT_SLOT

DATABASE = re.compile(r"[A-Za-z0-9_$]{1,64}")
MISSING = b"SELECT COUNT(*) FROM %b AS e LEFT JOIN ingest_adopted_ids AS m ON m.id = e.id WHERE m.id IS NULL"
DEAD = b"SELECT COUNT(*) FROM ingest_dead_letters"
MAKE_DATABASE = b"CREATE DATABASE IF NOT EXISTS `%b` CHARACTER SET utf8mb4"
OWN_SLOTS = b"SELECT COUNT(*) FROM `%b`.ingest_slots"
KEEP_OTHER_SLOT = (
    b"INSERT INTO `%b`.ingest_slots (slot, node, life, lease_until, floor_ms) "
    b"VALUES (%d, 'slots of another database', '', '9999-12-31', 0)"
)
SLOTS_APART = 256
"""The first database may lease this many further slots."""
NOT_ADOPTED = (
    "There is no way back: the original's table is not in this database, aside or in place. Nothing was changed."
)


class WayBack:
    """Needs a connection that holds the lock of the partitions. `plan` and `run` yield lines for the operator.

    `database` is another one on the same server, where the service took events meanwhile; None for the own one.
    """

    def __init__(
        self,
        connection: Connection,
        options: Options,
        database: str | None,
        progress: Progress,
        reached: Reached = lambda _: None,
    ) -> None:
        self._connection = connection
        self._options = options
        self._database = database
        self._progress = progress
        self._reached = reached
        self._swap = Swap(connection, options.still_seconds, reached)

    async def make_database(self) -> None:
        await self._connection.run(MAKE_DATABASE % str(self._database).encode())

    async def keep_ids_apart(self) -> None:
        """Let the other database lease slots far above those of this one. Raises `StoreError` if there are none."""
        other = str(self._database).encode()
        if (await self._connection.run(OWN_SLOTS % other))[0][0]:
            return
        slot = int((await self._connection.run(NEXT_SLOT))[0][0]) + SLOTS_APART
        if slot >= LEASED_SLOTS_MAX:
            raise StoreError(ALL_LEASED)
        await self._connection.run(KEEP_OTHER_SLOT % (other, slot))

    async def plan(self) -> AsyncIterator[str]:
        """Say what `run` would do. Nothing is changed. Raises `StoreError`."""
        tables = await self._look()
        source, _ = await self._source(tables)
        count = (await self._connection.run(MISSING % source))[0][0]
        yield f"{count} events of {_shown(source)} would be copied to the original's table."
        if tables.swapped and not self._database:
            yield f"call_event_logs would be put aside as {OURS.decode()}, and the original's table in its place."
        if dead := (await self._connection.run(DEAD))[0][0]:
            yield f"{dead} dead letters would stay in ingest_dead_letters: `ingest dead retry` publishes them before."

    async def run(self) -> AsyncIterator[str]:
        """Copy, exchange the tables, and copy what came between. Raises `StoreError`."""
        tables = await self._look()
        if self._database:
            await self._swap.check_published(f"`{self._database}`.".encode())
        yield await self._copied(tables)
        if not self._database:
            await self._swap.back(await self._look())
            yield await self._copied(await self._look())
            yield "call_event_logs is the original's table again"

    async def _copied(self, tables: Tables) -> str:
        source, keep = await self._source(tables)
        original = tables.original
        assert original is not None  # noqa: S101 - `_look` has checked it
        copy = BackCopy(self._connection, source, original, keep, self._options, self._progress, self._reached)
        return f"{await copy.run()} events of {_shown(source)} copied to {original.name}"

    async def _look(self) -> Tables:
        tables = await look(self._connection)
        if tables.original is None or not await existing(self._connection, IDS):
            raise StoreError(NOT_ADOPTED)
        if not (tables.swapped or tables.ours):
            raise StoreError(NOT_ADOPTED)
        return tables

    async def _source(self, tables: Tables) -> tuple[bytes, bytes | None]:
        """This service's table with the events, and the one that is to keep them, too."""
        own = EVENTS if tables.swapped else OURS
        if not self._database:
            return own, None
        found = await self._other(self._database)
        if not found or not found.is_ours:
            raise StoreError(
                f"{self._database}.call_event_logs is not this service's table, or this user may not see it."
            )
        return f"`{self._database}`.call_event_logs".encode(), own

    async def _other(self, database: str) -> Table | None:
        return await table(self._connection, EVENTS, f"'{database}'".encode())


def _shown(table: bytes) -> str:
    return table.decode().replace("`", "")

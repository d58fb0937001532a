"""The MySQL store without its event path: connections, tokens, dead letters, and events read back."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from ingest.auth.tokens import Token
from ingest.deadlines import deadline
from ingest.errors import StoreError, StoreUnavailable
from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack_one
from ingest.events.event import Event
from ingest.outbox.base import COUNTED_MAX
from ingest.outbox.dead_letters import DeadLetter
from ingest.store.event_query import EventFilter
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.errors import Duplicate
from ingest.store.mysql.partitioning.partitions import database_now_us
from ingest.store.mysql.partitioning.unfinished import check_whole
from ingest.store.mysql.pool import Pool, Servers
from ingest.store.mysql.schema import Report, examined
from ingest.store.mysql.schema_guard import SchemaGuard
from ingest.store.mysql.statements import dead_letters, events, outbox, tokens
from ingest.store.mysql.statements.literals import listed
from ingest.telemetry.clock_skew import ClockWatch
from ingest.telemetry.connection_metrics import NO_OBSERVER, ConnectionObserver

SCAN_SECONDS_MAX = 600.0
"""The deadline for counting and selecting events, which may read a large table to its end."""


class MySQLTables:
    """Implements `TokenTable`, `DeadLetterTable` and `EventTable`; see `ingest.store.base`.

    Commits have a pool of their own. Counting and searches have their own connections too, because they may be slow.
    All other calls share one connection.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        connections_max: int,
        connect_timeout_seconds: float,
        commit_timeout_seconds: float,
        now_us: Callable[[], int],
        observer: ConnectionObserver = NO_OBSERVER,
    ) -> None:
        # A batch needs no BEGIN without autocommit, so the server sends one answer less.
        self._writers = Pool(servers, connections_max, connect_timeout_seconds, observer, autocommit=False)
        self._others = Pool(servers, 1, connect_timeout_seconds, observer, autocommit=True)
        self._watchers = Pool(servers, 1, connect_timeout_seconds, observer, autocommit=True)
        self._readers = Pool(servers, 1, connect_timeout_seconds, observer, autocommit=True)
        self._servers = servers
        self._connect_timeout_seconds = connect_timeout_seconds
        self._guard = SchemaGuard(self._examined, time.monotonic)
        self._commit_timeout_seconds = commit_timeout_seconds
        self._now_us = now_us
        self._observer = observer
        self.clocks = ClockWatch()

    @property
    def unfinished(self) -> str | None:
        return self._guard.unfinished

    async def _examined(self) -> Report:
        """Use a separate connection, because a change of a table may block it."""
        async with self._deadline():
            connection = await self._servers.connect(self._connect_timeout_seconds)
            try:
                return await examined(connection)
            finally:
                await connection.end()

    async def start(self) -> None:
        pass  # connects at first use

    async def close(self) -> None:
        await self._writers.close()
        await self._others.close()
        await self._watchers.close()
        await self._readers.close()

    async def clock_us(self) -> int:
        async with self._other() as connection:
            return await database_now_us(connection)

    async def tokens(self) -> list[Token]:
        async with self._other() as connection:
            return [Token(*row) for row in await connection.run(tokens.READ)]

    async def add_token(self, token: Token) -> None:
        async with self._other() as connection:
            await connection.run(tokens.add(token))

    async def expire_tokens(self, digests: Sequence[bytes], expires_us: int) -> None:
        if digests:
            async with self._other() as connection:
                await connection.run(tokens.expire(digests, expires_us))

    async def remove_tokens(self, digests: Sequence[bytes]) -> None:
        if digests:
            async with self._other() as connection:
                await connection.run(tokens.remove(digests))

    async def add_dead(self, batch: Batch, reason: str) -> None:
        async with self._other() as connection:
            await connection.run(dead_letters.add(batch, reason))

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]:
        async with self._other() as connection:
            rows = await connection.run(dead_letters.READ % (after_id, limit))
        return [DeadLetter(row[0], row[1], row[2], unpack_one(row[3])) for row in rows]

    async def count_dead(self) -> int:
        async with self._watching() as connection:
            counted = int((await connection.run(dead_letters.COUNT))[0][0])
            return await rows_of(connection, b"ingest_dead_letters", counted)

    async def requeue_dead(self, event_ids: Sequence[int]) -> int:
        if not event_ids:
            return 0
        async with self._other() as connection:
            try:
                async with connection.transaction():
                    await connection.run(dead_letters.REQUEUE % listed(event_ids))
                    return await connection.change(dead_letters.DROP % listed(event_ids))
            except Duplicate as exc:
                raise StoreError("One of these is still being published; try again later.") from exc

    async def drop_dead(self, event_ids: Sequence[int]) -> int:
        if not event_ids:
            return 0
        async with self._other() as connection:
            return await connection.change(dead_letters.DROP % listed(event_ids))

    async def newest_id(self) -> int:
        async with self._other() as connection:
            return int((await connection.run(events.NEWEST_ID))[0][0])

    async def count_events(self, selection: EventFilter) -> int:
        async with self._other(SCAN_SECONDS_MAX) as connection:
            count = int((await connection.run(events.COUNT_EVENTS + events.where(selection)))[0][0])
            await check_whole(connection)
        return count

    async def read_events(self, selection: EventFilter, limit: int) -> list[tuple[int, Event]]:
        statement = events.READ_EVENTS + events.where(selection) + b" ORDER BY id LIMIT %d" % limit
        async with self._other(SCAN_SECONDS_MAX) as connection:
            rows = await connection.run(statement)
            await check_whole(connection)  # afterwards, because a conversion may just have begun to move events
        return [(row[0], Event(row[1], row[2], row[3].encode())) for row in rows]

    @asynccontextmanager
    async def _other(self, seconds_max: float | None = None) -> AsyncIterator[Connection]:
        async with self._deadline(seconds_max), self._others.connection() as connection:
            yield connection

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[Connection]:
        async with self._deadline(), self._watchers.connection() as connection:
            yield connection

    @asynccontextmanager
    async def _deadline(self, seconds_max: float | None = None) -> AsyncIterator[None]:
        """None means the deadline of a commit."""
        seconds = self._commit_timeout_seconds if seconds_max is None else seconds_max
        try:
            async with deadline(seconds):
                yield
        except TimeoutError as exc:
            raise StoreUnavailable(f"MySQL did not answer within {seconds:g} s.") from exc


async def rows_of(connection: Connection, table: bytes, counted: int) -> int:
    """The number of rows of a table: the counted ones, or an estimate if there may be more."""
    if counted < COUNTED_MAX:
        return counted
    return max(counted, int((await connection.run(outbox.ESTIMATED_ROWS % table))[0][0]))

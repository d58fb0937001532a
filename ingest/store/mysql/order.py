"""The MySQL store of a service that keeps the order of each call's events in a stream; see docs/streams.md.

As long as nobody is behind, every worker publishes what it commits, and answers when the stream has it. A worker that
cannot publish notes that all are behind before it answers: from then on what is committed, by whichever worker or node,
waits in the outbox, and the relays publish it in the order of its ids. Who finds nothing left to publish takes the note
back while no commit is under way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from ingest.errors import StoreUnavailable
from ingest.events.batch import Batch, unpack
from ingest.events.ids import SEQUENCE_BITS, SLOTS_MAX, slot_of
from ingest.store.mysql import statements as sql
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.errors import Duplicate, Retry
from ingest.store.mysql.store import MySQLStore

IS_BEHIND = b"SELECT behind FROM ingest_order WHERE id = 1 LOCK IN SHARE MODE"
"""Who has read it holds off those who would change it until the commit."""
LOCK_BEHIND = b"SELECT behind FROM ingest_order WHERE id = 1 FOR UPDATE"
SET_BEHIND = b"UPDATE ingest_order SET behind = %d WHERE id = 1"
LOCK_CHOICE = b"SELECT behind FROM ingest_order WHERE id = 2 FOR UPDATE"
FREE = b"UPDATE ingest_outbox SET lease_until = UTC_TIMESTAMP(6), attempts = 0 WHERE first_id IN (%b) AND attempts <= 0"
KEEP_BACK = (
    b"UPDATE ingest_outbox SET lease_until = UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND, attempts = -1 "
    b"WHERE first_id IN (%b) AND attempts <= 0"
)
"""Attempts tell what an entry is: 0, its worker publishes it; below, it is kept back by it; above, it is a relay's."""
OLDEST = b"SELECT first_id, " + sql.LEASE_IS_OVER + b" FROM ingest_outbox ORDER BY first_id LIMIT %d"
OLDEST_OF_ALL = b"SELECT first_id, " + sql.LEASE_IS_OVER + b", attempts FROM ingest_outbox ORDER BY first_id LIMIT %d"
LEFT_TO_RELAYS = (
    b"SELECT COUNT(*) FROM (SELECT 1 FROM ingest_outbox WHERE attempts > 0 OR "
    + sql.LEASE_IS_OVER
    + b" LIMIT %d) AS left_to_relays"
)
OLDER = b"SELECT 1 FROM ingest_outbox WHERE first_id < %d AND first_id >> %d & %d = %d LIMIT 1"
IDLE_SECONDS = b"SET SESSION wait_timeout = 2"
"""A node that freezes while it holds all commits off loses the lock after so long."""

CHOSEN_OF_MAX = 4
"""So many times the entries wanted are looked at: those of live workers are among them."""
LOOKED_AT_MAX = 2000
LAST_ENTRIES_MAX = 32
LAST_EVENTS_MAX = 1000
LAST_SECONDS = 0.15
"""For the last ones of those behind, which are published while no commit can be made; a commit waits longer."""

PublishAll = Callable[[Sequence[Batch]], Awaitable[None]]


class Entry(NamedTuple):
    """Of the outbox; `attempts` as `KEEP_BACK` says."""

    first_id: int
    free: bool
    attempts: int


class OrderedMySQLStore(MySQLStore):
    """See `ingest.ordering.base.OrderedStore`."""

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        statement = IS_BEHIND + b";" + sql.commit(batch, lease_seconds, settled)
        async with self._deadline():
            try:
                return bool((await self._insist(statement, [batch]))[0][0])
            except Duplicate:
                await self._check_repeats(batch)
                await self._check_own(batch)
                return True  # perhaps: an earlier try of unknown outcome has read it

    async def release(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> bool:
        async with self._other() as connection, connection.transaction():
            behind = bool((await connection.run(IS_BEHIND))[0][0])
            if behind:
                await _leave(connection, now, later, lease_seconds)
        return behind

    async def enter_relay_mode(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> None:
        async with self._other() as connection, connection.transaction():
            await connection.run(SET_BEHIND % 1)
            await _leave(connection, now, later, lease_seconds)

    async def keep_back(self, first_ids: Sequence[int], lease_seconds: float) -> None:
        async with self._other() as connection:
            await _leave(connection, (), first_ids, lease_seconds)

    async def waits_before(self, event_id: int) -> bool:
        async with self._other() as connection:
            return bool(await connection.run(OLDER % (event_id, SEQUENCE_BITS, SLOTS_MAX - 1, slot_of(event_id))))

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        """The oldest: behind, up to the first that is somebody's; else of each slot."""
        async with self._other() as connection, connection.transaction():
            await connection.run(LOCK_CHOICE)
            behind = bool((await connection.run(IS_BEHIND))[0][0])
            rows = await connection.run(OLDEST % (limit * CHOSEN_OF_MAX))
            first_ids = chosen([(row[0], bool(row[1])) for row in rows], limit, in_all=behind)
            if first_ids:
                await connection.run(sql.lease_entries(first_ids, lease_seconds))
        return first_ids

    async def catch_up(self, publish: PublishAll) -> bool:
        if await self._is_much_left():
            return False
        try:
            async with asyncio.timeout(self._commit_timeout_seconds):
                connection = await self._servers.connect(self._commit_timeout_seconds, autocommit=False)
                try:
                    return await self._catch_up(connection, publish)
                finally:
                    await connection.end()  # which takes back what is not committed
        except TimeoutError as exc:
            raise StoreUnavailable(f"MySQL did not answer within {self._commit_timeout_seconds:g} s.") from exc
        except Retry:
            return False

    async def _is_much_left(self) -> bool:
        """Then nobody has to be held off to find it out."""
        async with self._other() as connection:
            left = (await connection.run(LEFT_TO_RELAYS % (LAST_ENTRIES_MAX + 1)))[0][0]
        return int(left) > LAST_ENTRIES_MAX

    async def _catch_up(self, connection: Connection, publish: PublishAll) -> bool:
        await connection.run(IDLE_SECONDS)
        if not (await connection.run(LOCK_BEHIND))[0][0]:
            return True
        rows = await connection.run(OLDEST_OF_ALL % (LOOKED_AT_MAX + 1))
        last = last_of([Entry(row[0], bool(row[1]), row[2]) for row in rows])
        if last is None or len(rows) > LOOKED_AT_MAX:
            return False
        batches = unpack((row[0], row[1]) for row in await connection.run(sql.read_entries(last))) if last else []
        if len(batches) < len(last) or sum(map(len, batches)) > LAST_EVENTS_MAX:
            return False  # one is damaged, or they are many
        if batches:
            try:
                async with asyncio.timeout(LAST_SECONDS):
                    await publish(batches)
            except TimeoutError:
                return False
            await connection.run(sql.delete_entries([batch.first_id for batch in batches]))
        await connection.run(SET_BEHIND % 0 + b";COMMIT")
        return True


async def _leave(connection: Connection, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> None:
    if now:
        await connection.run(FREE % sql.listed(now))
    if later:
        await connection.run(KEEP_BACK % (sql.microseconds(lease_seconds), sql.listed(later)))


def last_of(entries: Sequence[Entry]) -> list[int] | None:
    """The first ids of all that is left to the relays, of all entries; None if they cannot be published at once.

    They are many, or a relay has some, or some are kept back, or their own worker publishes one that is older than
    another of its slot: what is newer would overtake it. What workers publish themselves now need not be waited for.
    """
    left = [entry.first_id for entry in entries if entry.free]
    if len(left) > LAST_ENTRIES_MAX or any(entry.attempts and not entry.free for entry in entries):
        return None
    free = [(entry.first_id, entry.free) for entry in entries]
    return left if left == chosen(free, LAST_ENTRIES_MAX, in_all=False) else None


def chosen(entries: Sequence[tuple[int, bool]], limit: int, *, in_all: bool) -> list[int]:
    """Which of the oldest entries (first id, is it free) may be published next so that none overtakes another.

    None follows one that is somebody's still: of the same slot, or `in_all`, of any.
    """
    first_ids: list[int] = []
    taken: set[int] = set()
    for first_id, free in entries:
        kind = 0 if in_all else slot_of(first_id)
        if not free:
            taken.add(kind)
        elif kind not in taken:
            first_ids.append(first_id)
    return first_ids[:limit]

"""The MySQL store of a service that keeps the order of each call's events in a stream; see docs/ordering.md.

Normally every worker publishes what it commits, and answers when the stream has confirmed it. A worker that cannot
publish switches all workers to relay mode: it sets a flag in the database before it answers. From then on every new
batch, from any worker or node, stays in the outbox. The relays publish the entries in the order of their ids. A relay
that finds nothing left to publish clears the flag while no commit is under way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from typing import Any, NamedTuple

from ingest.errors import StoreUnavailable
from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack
from ingest.events.ids import SEQUENCE_BITS, SLOTS_MAX, first_id_of, milliseconds_of, slot_of
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.errors import Duplicate, Retry
from ingest.store.mysql.statements import commit, outbox
from ingest.store.mysql.statements.literals import listed, microseconds
from ingest.store.mysql.store import MySQLStore

READ_RELAY_MODE = b"SELECT behind FROM ingest_order WHERE id = 1 LOCK IN SHARE MODE"
"""A shared lock: the flag cannot change until this transaction commits."""
LOOK_AT_RELAY_MODE = b"SELECT behind FROM ingest_order WHERE id = 1"
LOCK_RELAY_MODE = b"SELECT behind FROM ingest_order WHERE id = 1 FOR UPDATE"
SET_RELAY_MODE = b"UPDATE ingest_order SET behind = %d WHERE id = 1"
LOCK_CLAIM = b"SELECT behind FROM ingest_order WHERE id = 2 FOR UPDATE"
FREE = b"UPDATE ingest_outbox SET lease_until = UTC_TIMESTAMP(6), attempts = 0 WHERE first_id IN (%b) AND attempts <= 0"
KEEP_BACK = (
    b"UPDATE ingest_outbox SET lease_until = UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND, attempts = -1 "
    b"WHERE first_id IN (%b) AND attempts <= 0"
)
"""`attempts` says who publishes an entry. 0: its own worker will. Below 0: its worker defers it. Above 0: a relay."""
OLDEST = b"SELECT first_id, " + outbox.LEASE_IS_OVER + b", attempts FROM ingest_outbox ORDER BY first_id LIMIT %d"
LEFT_TO_RELAYS = (
    b"SELECT COUNT(*) FROM (SELECT 1 FROM ingest_outbox WHERE attempts > 0 OR "
    + outbox.LEASE_IS_OVER
    + b" LIMIT %d) AS left_to_relays"
)
OLDER = b"SELECT 1 FROM ingest_outbox WHERE first_id < %d AND first_id >> %d & %d = %d LIMIT 1"
ENTRIES_BETWEEN = (
    b"SELECT first_id, batch FROM ingest_outbox WHERE first_id BETWEEN %d AND %d ORDER BY first_id DESC LIMIT %d"
)
EARLIER_MS = 1000
"""A batch's first id is at most this much older than its last one."""
IDLE_SECONDS = b"SET SESSION wait_timeout = 2"
"""In seconds. A node that freezes while it blocks all commits loses the lock after this time."""

LOOKED_AT_FACTOR = 4
"""A claim looks at this many times more entries than it wants, as some belong to live workers."""
LOOKED_AT_MAX = 2000
ORIGINALS_LOOKED_AT_MAX = 100
"""Entries of which a worker reads the batches to find originals. Only relay mode leaves more in the outbox."""
LAST_ENTRIES_MAX = 32
LAST_EVENTS_MAX = 1000
LAST_SECONDS = 0.15
"""The last entries are published while commits are blocked. A commit's own deadline is longer than this."""

PublishAll = Callable[[Sequence[Batch]], Awaitable[None]]


class Entry(NamedTuple):
    """An outbox entry. It is `free` if its lease is over. `KEEP_BACK` explains `attempts`."""

    first_id: int
    free: bool
    attempts: int


class OrderedMySQLStore(MySQLStore):
    """See `ingest.ordering.base.OrderedStore`."""

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        statement = READ_RELAY_MODE + b";" + commit.commit(batch, lease_seconds, settled)
        async with self._deadline():
            try:
                return bool((await self._insist(statement, [batch]))[0][0])
            except Duplicate:
                await self._check_stored(batch)
                await self.settle(settled)
                return True  # perhaps: the earlier try, of unknown outcome, may have committed in relay mode

    async def leave_to_relays(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> bool:
        async with self._other() as connection, connection.transaction():
            relay_mode = bool((await connection.run(READ_RELAY_MODE))[0][0])
            if relay_mode:
                await _leave(connection, now, later, lease_seconds)
        return relay_mode

    async def enter_relay_mode(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> None:
        async with self._other() as connection, connection.transaction():
            await connection.run(SET_RELAY_MODE % 1)
            await _leave(connection, now, later, lease_seconds)

    async def unpublished(self, event_ids: Set[int]) -> Sequence[int]:
        first_id = first_id_of(milliseconds_of(min(event_ids)) - EARLIER_MS)
        async with self._other() as connection:
            if (await connection.run(LOOK_AT_RELAY_MODE))[0][0]:
                return []
            rows = await connection.run(ENTRIES_BETWEEN % (first_id, max(event_ids), ORIGINALS_LOOKED_AT_MAX))
        found = unpack((row[0], row[1]) for row in rows)
        return [batch.first_id for batch in found if not event_ids.isdisjoint(batch.ids)]

    async def has_older(self, event_id: int) -> bool:
        async with self._other() as connection:
            return bool(await connection.run(OLDER % (event_id, SEQUENCE_BITS, SLOTS_MAX - 1, slot_of(event_id))))

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        """Lease the oldest entries up to the first that is still leased: of all slots in relay mode, else of each."""
        async with self._other() as connection, connection.transaction():
            await connection.run(LOCK_CLAIM)
            relay_mode = bool((await connection.run(READ_RELAY_MODE))[0][0])
            rows = await connection.run(OLDEST % (limit * LOOKED_AT_FACTOR))
            first_ids = chosen(entries_of(rows), limit, in_all=relay_mode)
            if first_ids:
                await connection.run(outbox.lease_entries(first_ids, lease_seconds))
        return first_ids

    async def leave_relay_mode(self, publish: PublishAll) -> bool:
        if await self._is_much_left():
            return False
        try:
            async with asyncio.timeout(self._commit_timeout_seconds):
                connection = await self._servers.connect(self._commit_timeout_seconds, autocommit=False)
                try:
                    return await self._leave_relay_mode(connection, publish)
                finally:
                    await connection.end()  # which takes back what is not committed
        except TimeoutError as exc:
            raise StoreUnavailable(f"MySQL did not answer within {self._commit_timeout_seconds:g} s.") from exc
        except Retry:
            return False

    async def _is_much_left(self) -> bool:
        """Checked without a lock, so commits are not blocked."""
        async with self._other() as connection:
            left = (await connection.run(LEFT_TO_RELAYS % (LAST_ENTRIES_MAX + 1)))[0][0]
        return int(left) > LAST_ENTRIES_MAX

    async def _leave_relay_mode(self, connection: Connection, publish: PublishAll) -> bool:
        await connection.run(IDLE_SECONDS)
        if not (await connection.run(LOCK_RELAY_MODE))[0][0]:
            return True
        rows = await connection.run(OLDEST % (LOOKED_AT_MAX + 1))
        last = last_of(entries_of(rows))
        if last is None or len(rows) > LOOKED_AT_MAX:
            return False
        batches = unpack((row[0], row[1]) for row in await connection.run(outbox.read_entries(last))) if last else []
        if len(batches) < len(last) or sum(map(len, batches)) > LAST_EVENTS_MAX:
            return False  # an entry is damaged, or there are too many events
        if batches:
            try:
                async with asyncio.timeout(LAST_SECONDS):
                    await publish(batches)
            except TimeoutError:
                return False
            await connection.run(outbox.delete_entries([batch.first_id for batch in batches]))
        await connection.run(SET_RELAY_MODE % 0 + b";COMMIT")
        return True


async def _leave(connection: Connection, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> None:
    if now:
        await connection.run(FREE % listed(now))
    if later:
        await connection.run(KEEP_BACK % (microseconds(lease_seconds), listed(later)))


def entries_of(rows: Iterable[Sequence[Any]]) -> list[Entry]:
    return [Entry(first_id, bool(free), attempts) for first_id, free, attempts in rows]


def last_of(entries: Sequence[Entry]) -> list[int] | None:
    """The first ids of all entries left to the relays; None if these entries cannot be published at once.

    That is so if there are too many, if a relay has leased one, or if a worker defers one. It is also so if a worker
    still publishes an older entry of the same slot, which a newer one would overtake. Other entries that workers
    publish themselves do not matter.
    """
    left = [entry.first_id for entry in entries if entry.free]
    if len(left) > LAST_ENTRIES_MAX or any(entry.attempts and not entry.free for entry in entries):
        return None
    return left if left == chosen(entries, LAST_ENTRIES_MAX, in_all=False) else None


def chosen(entries: Sequence[Entry], limit: int, *, in_all: bool) -> list[int]:
    """The first ids of the entries that may be published next without overtaking another.

    An entry must wait for every older one that is still leased, of the same slot or, with `in_all`, of any slot.
    """
    first_ids: list[int] = []
    taken: set[int] = set()
    for entry in entries:
        kind = 0 if in_all else slot_of(entry.first_id)
        if not entry.free:
            taken.add(kind)
        elif kind not in taken:
            first_ids.append(entry.first_id)
    return first_ids[:limit]

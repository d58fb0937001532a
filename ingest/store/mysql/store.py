"""The store on MySQL (8.0.1 or later) and MariaDB (10.6 or later), through asyncmy."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from ingest.errors import BatchRefused, DuplicateKeys, IdsTaken, RowRefused, SchemaError, StoreError, StoreUnavailable
from ingest.events.batch import Batch, divided, duplicate_keys_in
from ingest.events.batch_codec import unpack, unpack_one
from ingest.events.ids import CLOCKS_APART_MS_MAX, LEASED_SLOTS_MAX, first_id_of, last_issued_of, milliseconds_of
from ingest.outbox.base import Backlog
from ingest.store.base import ALL_LEASED, SlotLease
from ingest.store.migrations import newest_version
from ingest.store.mysql.connection import Connection, Row
from ingest.store.mysql.errors import Duplicate, JsonRefused, Retry, TooLarge
from ingest.store.mysql.statements import commit, events, outbox, slots
from ingest.store.mysql.statements.literals import microseconds, quoted
from ingest.store.mysql.tables import rows_of
from ingest.store.mysql.target_record import MySQLTargetTable

VERSION_AND_TIME = (
    b"SELECT COALESCE(MAX(version), 0), TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) "
    b"FROM ingest_migrations"
)
RETRIES_MAX = 5
RETRY_PAUSE_SECONDS = 0.01
"""The pause after a deadlock, times the number of the try. The deadline limits all tries together."""
PACKET_BYTES_SANE = 1 << 20
"""The smallest default of `max_allowed_packet` ever. With a smaller one, an event that does not fit is not to blame."""


class MySQLStore(MySQLTargetTable):
    """Implements `ingest.store.base.Store`."""

    async def ping(self) -> None:
        async with self._other() as connection:
            before_us = self._now_us()
            version, time_us = (await connection.run(VERSION_AND_TIME))[0]
            self.clocks.look(before_us, time_us, self._now_us())
        if version < newest_version("mysql"):
            raise SchemaError
        await self._guard.check()

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        statement = commit.commit(batch, lease_seconds, settled)
        async with self._deadline():
            try:
                await self._insist(statement, [batch])
            except Duplicate:
                await self._check_stored(batch)
                await self.settle(settled)
        return False

    async def probe(self) -> None:
        await self.ping()
        async with self._deadline():
            with suppress(Duplicate):  # the server already searched for such a row, so it accepts writes
                await self._commit_once(commit.probe())

    async def insert_published(self, batches: Sequence[Batch]) -> None:
        statement = commit.insert_published(batches)
        async with self._deadline():
            try:
                await self._insist(statement, batches)
            except Duplicate:
                for batch in batches:
                    await self._insert_again(batch)

    async def _insert_again(self, batch: Batch) -> None:
        """Insert one of several batches, as some of them may be stored already, at least in part."""
        try:
            await self._insist(commit.insert_published([batch]), [batch])
        except Duplicate:
            await self._check_stored(batch)
            async with self._other() as connection:
                await connection.run(outbox.delete_published([batch]))

    async def settle(self, first_ids: Sequence[int]) -> None:
        if first_ids:
            async with self._other() as connection:
                await connection.run(outbox.delete_entries(first_ids))

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        async with self._other() as connection:
            if not await connection.run(outbox.ANY_CLAIMABLE):
                return []  # nearly always, without a transaction
            async with connection.transaction():
                first_ids = [row[0] for row in await connection.run(outbox.CLAIMABLE % limit)]
                if first_ids:
                    await connection.run(outbox.lease_entries(first_ids, lease_seconds))
        return sorted(first_ids)

    async def read(self, first_ids: Sequence[int]) -> list[Batch]:
        if not first_ids:
            return []
        async with self._other() as connection:
            rows = await connection.run(outbox.read_entries(first_ids))
        return unpack((row[0], row[1]) for row in rows)

    async def forget_keys(self, before_ms: int, limit: int) -> int:
        async with self._other() as connection:
            return await connection.change(commit.DELETE_KEYS % (first_id_of(before_ms), limit))

    async def count_rows(self, first_id: int, last_id: int) -> int:
        async with self._other() as connection:
            return int((await connection.run(events.count_rows(first_id, last_id)))[0][0])

    async def backlog(self) -> Backlog:
        async with self._watching() as connection:
            count, first_id, counted = (await connection.run(outbox.BACKLOG))[0]
            entries = await rows_of(connection, b"ingest_outbox", counted)
        age_ms = self._now_us() // 1000 - milliseconds_of(first_id) if first_id is not None else 0
        return Backlog(int(count) * entries // max(1, counted), max(0, age_ms) / 1000, entries)

    async def lease_slot(self, node: str, life: str, lease_seconds: float) -> SlotLease:
        now_ms = self._now_us() // 1000
        until_ms = now_ms + int(lease_seconds * 1000)
        async with self._deadline():
            while True:
                try:
                    async with self._others.connection() as connection, connection.transaction():
                        newest_id = int((await connection.run(events.NEWEST_ID))[0][0])
                        slot, last_issued_ms = await _take_slot(connection, node, life, lease_seconds, now_ms)
                    last_issued_ms = last_issued_of(last_issued_ms, newest_id, now_ms)
                    return SlotLease(slot, node, until_ms, last_issued_ms, life)
                except (Duplicate, Retry):
                    continue  # another worker has just taken this slot

    async def renew_slot(self, lease: SlotLease, life: str, lease_seconds: float) -> SlotLease | None:
        until_ms = self._now_us() // 1000 + int(lease_seconds * 1000)
        node, earlier, now = (quoted(value.encode()) for value in (lease.node, lease.life, life))
        values = (microseconds(lease_seconds), lease.last_issued_ms, now, lease.slot, node, earlier, now)
        async with self._other() as connection:
            changed = await connection.change(slots.RENEW_SLOT % values)
        return SlotLease(lease.slot, lease.node, until_ms, lease.last_issued_ms, life) if changed else None

    async def release_slot(self, lease: SlotLease, keep_seconds: float) -> None:
        await self.renew_slot(lease, lease.life, keep_seconds)

    async def _insist(self, statement: bytes, batches: Sequence[Batch]) -> list[Row]:
        """Return the first result's rows. Raises `RowRefused` if the rows to blame are proven, else `BatchRefused`."""
        await self._guard.check_once()
        try:
            return await self._try(statement)
        except (JsonRefused, TooLarge) as exc:
            if rows := await self._refused_rows(batches, exc):
                raise RowRefused(str(exc), rows) from exc
            raise

    async def _refused_rows(self, batches: Sequence[Batch], reason: BatchRefused) -> dict[int, str]:
        """The ids of the events that the server provably refuses, each with the reason."""
        ids = [event_id for batch in batches for event_id in batch.ids]
        if isinstance(reason, TooLarge):
            alone = len(ids) == 1 and reason.bytes_max >= PACKET_BYTES_SANE
            return {ids[0]: str(reason)} if alone else {}
        ((verdicts,),) = await self._read_once(commit.json_valid(batches))
        return {event_id: str(reason) for event_id, valid in zip(ids, verdicts, strict=True) if valid == "0"}

    async def _try(self, statement: bytes) -> list[Row]:
        """Retry after a conflict or a lost connection. The outcome may be unknown, but the ids make a retry safe."""
        for attempt in range(1, RETRIES_MAX + 1):
            try:
                return await self._commit_once(statement)
            except (Retry, StoreUnavailable):
                if attempt == RETRIES_MAX:
                    raise
            self._observer.retried(1)
            await asyncio.sleep(attempt * RETRY_PAUSE_SECONDS)
        raise StoreUnavailable  # never reached: the last try returns or raises

    async def _read_once(self, statement: bytes) -> list[Row]:
        async with self._writers.connection() as connection:
            rows = await connection.run(statement)
            await connection.run(b"ROLLBACK")
        return rows

    async def _commit_once(self, statement: bytes) -> list[Row]:
        async with self._writers.connection() as connection:
            try:
                return await connection.run(statement, of_first=True)
            except StoreUnavailable:
                raise
            except StoreError:
                await connection.run(b"ROLLBACK")
                raise

    async def _check_stored(self, batch: Batch) -> None:
        """Raises `DuplicateKeys` if other events have idempotency keys of this batch. Otherwise its ids exist.

        Return if the rows are the batch's own: an earlier try of unknown outcome stored them. If the batch is a part of
        what was tried, the entry is divided: whoever publishes this part settles no other event.
        """
        if (statement := commit.read_keys(batch)) is not None:
            held = await self._read_once(statement)
            if same := duplicate_keys_in(batch, held):
                raise DuplicateKeys(same, sorted({event_id for _, _, event_id in held}.difference(batch.ids)))
        rows, own = await self._read_once(commit.read_rows(batch)), commit.own_rows(batch)
        if not set(rows) <= set(own):
            raise IdsTaken(batch.slot)
        if rows != own:  # some rows were deleted, or a proxy reads from another server; a commit in parts shows which
            raise BatchRefused(f"Another worker issued ids of slot {batch.slot}, or MySQL does not show all rows.")
        if await self._read_once(outbox.IS_LARGER % (batch.first_id, len(batch))):
            await self._divide_entry(batch)

    async def _divide_entry(self, batch: Batch) -> None:
        """Divide an entry that has the batch's first id and more events. The deadline of the caller bounds it."""
        while True:
            try:
                async with self._others.connection() as connection, connection.transaction():
                    for (packed,) in await connection.run(outbox.LOCK_LARGER % (batch.first_id, len(batch))):
                        if larger := unpack_one(packed):
                            for statement in outbox.divide_entry(*divided(larger, batch)):
                                await connection.run(statement)
                return
            except Retry:
                continue


async def _take_slot(
    connection: Connection, node: str, life: str, lease_seconds: float, now_ms: int
) -> tuple[int, int]:
    lease, owner, value = microseconds(lease_seconds), quoted(node.encode()), quoted(life.encode())
    free = await connection.run(slots.FREE_SLOT % (LEASED_SLOTS_MAX, now_ms + CLOCKS_APART_MS_MAX))
    if free:
        slot, last_issued_ms = free[0]
        await connection.run(slots.TAKE_SLOT % (owner, value, lease, slot))
        return slot, last_issued_ms
    slot = int((await connection.run(slots.NEXT_SLOT))[0][0])
    if slot >= LEASED_SLOTS_MAX:
        raise StoreError(ALL_LEASED)
    await connection.run(slots.NEW_SLOT % (slot, owner, value, lease))
    return slot, 0

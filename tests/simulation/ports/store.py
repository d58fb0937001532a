"""A worker's connection to the model of the database: the port `ingest.store.base.Store`, with faults."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from ingest.audit.trail import AuditEntry
from ingest.auth.tokens import Token
from ingest.clock import NowUs
from ingest.errors import BatchRefused, RowRefused, StoreError, StoreUnavailable
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import milliseconds_of
from ingest.outbox.base import Backlog
from ingest.outbox.dead_letters import DeadLetter
from ingest.reading.base import SCAN_ROWS_MAX, EventPage, EventQuery, EventRow, WaitingEntry
from ingest.store.base import ALL_LEASED, SlotLease
from ingest.store.event_query import EventFilter
from tests.simulation.chance import Chance
from tests.simulation.ports.database import Database

T = TypeVar("T")

POISON = b'"poison"'
"""An event with this text is refused by the database."""
RIDDLE = b'"riddle"'
"""An event with this text is refused, and the database does not say which event of the batch is to blame."""


class ModelStore:
    """Implements `ingest.store.base.Store`, as far as a worker uses it."""

    unfinished = None

    def __init__(self, database: Database, chance: Chance, now_us: NowUs, timeout_seconds: float) -> None:
        self._database = database
        self._chance = chance
        self._now_us = now_us
        self._timeout_seconds = timeout_seconds

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def ping(self) -> None:
        await self._call(lambda: None)

    async def probe(self) -> None:
        await self._call(lambda: self._check([]), writes=True)

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        def commit() -> None:
            self._check([batch])
            self._database.commit(batch, self._now() + lease_seconds, settled)

        await self._call(commit, writes=True)
        return False

    async def insert_published(self, batches: Sequence[Batch]) -> None:
        def insert() -> None:
            self._check(batches)
            self._database.insert_published(batches)

        await self._call(insert, writes=True)

    async def settle(self, first_ids: Sequence[int]) -> None:
        await self._call(lambda: self._database.settle(first_ids), writes=True)

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        now = self._now
        return await self._call(lambda: self._database.claim(limit, now(), now() + lease_seconds), writes=True)

    async def read(self, first_ids: Sequence[int]) -> list[Batch]:
        entries = self._database.entries
        return await self._call(lambda: [entries[one].batch for one in sorted(first_ids) if one in entries])

    async def backlog(self) -> Backlog:
        def count() -> Backlog:
            batches = [entry.batch for entry in self._database.entries.values()]
            oldest = min((batch.first_id for batch in batches), default=None)
            age_ms = self._now_us() // 1000 - milliseconds_of(oldest) if oldest else 0
            return Backlog(sum(map(len, batches)), max(0, age_ms) / 1000, len(batches))

        return await self._call(count)

    async def forget_keys(self, before_ms: int, limit: int) -> int:
        def forget() -> int:
            keys = self._database.keys
            old = [digest for digest, (_, one) in keys.items() if milliseconds_of(one) < before_ms][:limit]
            for digest in old:
                del keys[digest]
            return len(old)

        return await self._call(forget, writes=True)

    async def count_rows(self, first_id: int, last_id: int) -> int:
        rows = self._database.rows
        return await self._call(lambda: sum(first_id <= one <= last_id for one in rows))

    async def lease_slot(self, node: str, life: str, lease_seconds: float) -> SlotLease:
        now_ms = self._now_us() // 1000
        until_ms = now_ms + int(lease_seconds * 1000)

        def lease() -> SlotLease:
            now = self._now()
            leased = self._database.lease_slot(node, life, now, now + lease_seconds, now_ms)
            if leased is None:
                raise StoreError(ALL_LEASED)
            return SlotLease(leased[0], node, until_ms, leased[1], life)

        return await self._call(lease, writes=True)

    async def renew_slot(self, lease: SlotLease, life: str, lease_seconds: float) -> SlotLease | None:
        until_ms = self._now_us() // 1000 + int(lease_seconds * 1000)
        database = self._database
        renewed = await self._call(lambda: database.renew_slot(lease, life, self._now() + lease_seconds), writes=True)
        return SlotLease(lease.slot, lease.node, until_ms, lease.last_issued_ms, life) if renewed else None

    async def release_slot(self, lease: SlotLease, keep_seconds: float) -> None:
        await self.renew_slot(lease, lease.life, keep_seconds)

    async def add_dead(self, batch: Batch, reason: str) -> None:
        await self._call(lambda: self._database.add_dead(batch, reason, self._now_us()), writes=True)

    async def count_dead(self) -> int:
        return await self._call(lambda: len(self._database.dead))

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]:
        raise NotImplementedError

    async def requeue_dead(self, event_ids: Sequence[int]) -> int:
        raise NotImplementedError

    async def drop_dead(self, event_ids: Sequence[int]) -> int:
        raise NotImplementedError

    async def clock_us(self) -> int:
        return await self._call(lambda: int(self._now() * 1e6))

    async def tokens(self) -> list[Token]:
        database = self._database
        return await self._call(lambda: sorted(database.tokens.values(), key=lambda one: (one.created_us, one.digest)))

    async def add_token(self, token: Token) -> None:
        def add() -> None:
            if token.digest in self._database.tokens:
                raise StoreError("This token is there already.")
            self._database.change_tokens(self._database.tokens | {token.digest: token})

        await self._call(add, writes=True)

    async def expire_tokens(self, digests: Sequence[bytes], expires_us: int) -> None:
        def expire() -> None:
            tokens = dict(self._database.tokens)
            for digest in digests:
                if token := tokens.get(digest):
                    until_us = min(expires_us, token.expires_us or expires_us)
                    tokens[digest] = msgspec.structs.replace(token, expires_us=until_us)
            self._database.change_tokens(tokens)

        await self._call(expire, writes=True)

    async def remove_tokens(self, digests: Sequence[bytes]) -> None:
        def remove() -> None:
            tokens = self._database.tokens
            self._database.change_tokens({one: token for one, token in tokens.items() if one not in digests})

        await self._call(remove, writes=True)

    async def newest_id(self) -> int:
        raise NotImplementedError

    async def count_events(self, selection: EventFilter) -> int:
        raise NotImplementedError

    async def read_events(self, selection: EventFilter, limit: int) -> list[tuple[int, Event]]:
        raise NotImplementedError

    async def find_events(self, query: EventQuery, limit: int, scan_rows_max: int = SCAN_ROWS_MAX) -> EventPage:
        raise NotImplementedError

    async def event_row(self, event_id: int) -> EventRow | None:
        raise NotImplementedError

    async def outbox_entry_of(self, event_id: int) -> WaitingEntry | None:
        raise NotImplementedError

    async def add_entries(self, batches: Sequence[Batch]) -> None:
        raise NotImplementedError

    async def add_audit(self, entry: AuditEntry) -> None:
        raise NotImplementedError

    async def audit_entries(self, before_id: int, limit: int) -> list[AuditEntry]:
        raise NotImplementedError

    async def forget_audit(self, before_us: int, limit: int) -> int:
        return await self._call(int, writes=True)

    async def _call(self, work: Callable[[], T], *, writes: bool = False) -> T:
        """Do the work as a server far away would: late, not at all, or done without an answer."""
        chance, database = self._chance, self._database
        await asyncio.sleep(chance.seconds("database is reached", 0.0002, 0.002 + database.slow_seconds))
        if database.hangs:
            await asyncio.sleep(self._timeout_seconds)
            raise StoreUnavailable("The database does not answer.")
        if database.down or chance.happens("database fails", 0.003):
            raise StoreUnavailable("The database is away.")
        result = work()
        if writes and chance.happens("database commits without an answer", 0.004):
            raise StoreUnavailable("The connection was lost.")
        await asyncio.sleep(chance.seconds("database answers", 0.0002, 0.004 + database.slow_seconds))
        if database.hangs:
            await asyncio.sleep(self._timeout_seconds)
            raise StoreUnavailable("The database does not answer.")
        return result

    def _check(self, batches: Sequence[Batch]) -> None:
        if self._database.refuses:
            raise BatchRefused
        if not self._database.takes_all:
            _check(batches)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _check(batches: Sequence[Batch]) -> None:
    poisoned = {
        event_id: "The database refuses its content."
        for batch in batches
        for event_id, event in zip(batch.ids, batch.events, strict=True)
        if POISON in event.payload
    }
    if poisoned:
        raise RowRefused("The database refuses the content.", poisoned)
    if any(RIDDLE in event.payload for batch in batches for event in batch.events):
        raise BatchRefused

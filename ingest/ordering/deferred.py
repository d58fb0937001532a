"""Batches this worker could not publish in order. They are handed to the relays or published later, in order."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import TypeVar

from ingest.errors import StoreError
from ingest.events.ids import ID_MAX
from ingest.ordering.base import OrderedStore
from ingest.ordering.commit_queue import CommittedPart
from ingest.ordering.publish import OrderedPublish
from ingest.outbox.base import Outbox

log = logging.getLogger("ingest.dispatcher")

T = TypeVar("T")

PATIENCE_SECONDS = 0.25
"""A client that waits longer for the stream is answered without it: clients time out soon after."""
LONG_PATIENCE_SECONDS = 1.75
"""The patience of a worker that has just begun to defer events. If the database is away, too, it cannot tell other
workers that newer events must wait. A stalled disk recovers soon. Clients of a long outage wait less."""
ALONE_SECONDS = 1.5
"""If the database does not answer for this time, the worker publishes its events without an agreed order. The clients
that wait patiently are answered after that."""
READ_ENTRIES = 64
"""Parts that are published at a time."""
RENEWALS = 3
"""Renewals of a lease before it would end."""


class DeferredBatches:
    """The deferred parts of one worker. False when the worker may publish by itself again.

    The relays get the parts in the database's outbox. The worker publishes the parts in its spool. While the database
    does not answer, the worker publishes all of them, as nobody else can.
    """

    def __init__(
        self, ordered: OrderedPublish, store: OrderedStore, spool: Outbox | None, lease_seconds: float
    ) -> None:
        self._ordered = ordered
        self._store = store
        self._spool = spool
        self._lease_seconds = lease_seconds
        self.relays_have_older = False
        """The relays may still have entries of this worker, which its newer batches must not overtake."""
        self._entries: dict[int, CommittedPart] = {}
        """Parts in the database's outbox, by first id."""
        self._spooled: dict[int, CommittedPart | None] = {}
        """Parts in the spool, by first id. None: only the spool has the events, as their clients are answered."""
        self._held: set[int] = set()
        """Entries of the database's outbox that are newer than a spooled part. The relays get them after it."""
        self._held_until = 0.0
        self._began = 0.0
        self._unanswered_since: float | None = None
        """Since when the database does not answer this worker's questions about the order."""

    def __bool__(self) -> bool:
        return bool(self._entries or self._spooled or self._held)

    def __iter__(self) -> Iterator[CommittedPart]:
        return iter([*self._entries.values(), *filter(None, self._spooled.values())])

    def add(self, part: CommittedPart) -> None:
        if not self:
            self._began = self._now()
        if part.target.in_database:
            self._entries[part.batch.first_id] = part
        else:
            self._spooled[part.batch.first_id] = part
            self._limit_wait(part)

    def relay_mode_is_off(self) -> None:
        """The database says so: a batch was committed, and not in relay mode."""
        self.relays_have_older, self._unanswered_since = False, None

    def published(self, first_id: int) -> None:
        """The stream has the part, perhaps after all: a publish may only have seemed lost."""
        if part := self._entries.pop(first_id, None) or self._spooled.pop(first_id, None):
            part.acknowledge()

    async def hand_over(self) -> bool:
        """Enter relay mode, and leave entries to the relays. Return False if there are none, or it failed.

        These are the parts in the database, and held entries that no spooled part precedes any more.
        """
        parts = list(self._entries.values())
        now, later = self._split([*self._held, *self._entries])
        if not parts and not now and (not later or self._now() < self._held_until):
            return False
        try:
            await self._answer_of(self._store.enter_relay_mode(now, later, self._lease_seconds))
        except StoreError as exc:
            log.debug("entries could not be left to the relays; tried again", extra={"reason": str(exc)})
            for part in parts:
                self._limit_wait(part)
            return False
        self._left(now, later)
        for part in parts:
            self._entries.pop(part.batch.first_id, None)
            part.acknowledge()
        return True

    async def leave_to_relays(self, parts: Sequence[CommittedPart]) -> bool:
        """Leave these parts to the relays if relay mode is on. Return whether it is. Raises `StoreError`."""
        now, later = self._split(part.batch.first_id for part in parts if part.target.in_database)
        if not await self._answer_of(self._store.leave_to_relays(now, later, self._lease_seconds)):
            return False
        self._left(now, later)
        return True

    async def publish(self) -> None:
        """Publish parts in order, until the relays have, or will have, an older entry.

        Raises `PublishError` or `StoreError`.
        """
        while (first_ids := self._next()) and not await self._relays_have_older(first_ids[0]):
            own = [self._entries[first_id] for first_id in first_ids if first_id in self._entries]
            spooled = [first_id for first_id in first_ids if first_id in self._spooled]
            batches = [part.batch for part in own]
            if self._spool and spooled:
                batches += await self._spool.read(spooled)
            await self._ordered.publish_deferred(sorted(batches, key=attrgetter("first_id")))
            for part in own:
                part.target.settler.add([part.batch.first_id])
            if self._spool and spooled:
                await self._spool.settle(spooled)
            for first_id in first_ids:
                self.published(first_id)

    def _limit_wait(self, part: CommittedPart) -> None:
        """Answer the part's clients in time, although the stream does not have their events."""
        if part.acknowledged:
            return
        until = 0.0
        if self._ordered.ready:
            until = max(self._began + LONG_PATIENCE_SECONDS, self._now() + PATIENCE_SECONDS)
        asyncio.get_running_loop().call_at(until, self._answer, part)

    def _answer(self, part: CommittedPart) -> None:
        part.acknowledge()
        if part.batch.first_id in self._spooled:
            self._spooled[part.batch.first_id] = None  # an outage may fill the spool, but not the memory

    @property
    def _is_alone(self) -> bool:
        return self._unanswered_since is not None and self._now() > self._unanswered_since + ALONE_SECONDS

    def _next(self) -> Sequence[int]:
        """The oldest parts, up to the first entry that the relays are to have. A worker that is alone takes all."""
        end = ID_MAX if self._is_alone else min([*self._held, *self._entries], default=ID_MAX)
        return sorted(first_id for first_id in [*self._entries, *self._spooled] if first_id < end)[:READ_ENTRIES]

    async def _relays_have_older(self, first_id: int) -> bool:
        """Ask the database for older entries. If it does not answer there may be some, until the worker is alone."""
        if not self.relays_have_older or self._is_alone:
            return False
        self.relays_have_older, older = False, True  # a hand-over meanwhile sets the flag again
        with suppress(StoreError):
            older = await self._answer_of(self._store.has_older(first_id))
        self.relays_have_older = self.relays_have_older or older
        return older

    async def _answer_of(self, question: Awaitable[T]) -> T:
        try:
            answer = await question
        except StoreError:
            if self._unanswered_since is None:
                self._unanswered_since = self._now()
            raise
        self._unanswered_since = None
        return answer

    def _left(self, now: Iterable[int], later: Iterable[int]) -> None:
        self._held = self._held.union(later).difference(now)
        self._held_until = self._now() + self._lease_seconds / RENEWALS
        self.relays_have_older = True

    def _split(self, first_ids: Iterable[int]) -> tuple[list[int], list[int]]:
        """The entries that the relays may have now, and later: those newer than a spooled part."""
        oldest, ids = min(self._spooled, default=ID_MAX), sorted(first_ids)
        return [i for i in ids if i < oldest], [i for i in ids if i > oldest]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

"""Batches this worker could not publish in order. They are handed to the relays or published later, in order."""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

from ingest.clock import Monotonic
from ingest.errors import StoreError
from ingest.events.batch import Batch
from ingest.events.ids import ID_MAX
from ingest.ordering.base import OrderedStore
from ingest.ordering.commit_queue import CommittedPart
from ingest.outbox.base import Outbox

log = logging.getLogger("ingest.dispatcher")

LAST_ENTRIES = 16
"""New batches wait in memory once only this many spooled entries are left."""
READ_ENTRIES = 64
"""Entries read from the spool at a time."""
RENEWALS = 3
"""Renewals of a lease before it would end."""


class DeferredBatches:
    """The deferred batches of one worker. False when the worker may publish by itself again."""

    def __init__(
        self,
        store: OrderedStore,
        spool: Outbox | None,
        publish: Callable[[Sequence[Batch]], Awaitable[None]],
        stop_publishing: Callable[[], None],
        lease_seconds: float,
        monotonic: Monotonic,
    ) -> None:
        """`publish` publishes batches of the spool.

        `stop_publishing` is called before an entry is left to the relays: no newer batch may be published then.
        """
        self._store = store
        self._spool = spool
        self._publish = publish
        self._stop_publishing = stop_publishing
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self.few_left = False
        """New batches wait in memory for the last spooled ones, instead of being deferred."""
        self.relays_have_older = False
        """The relays may still have entries of this worker, which its newer batches must not overtake."""
        self._pending_notice: list[CommittedPart] = []
        """Parts in the database's outbox, before the database gets a notice of them."""
        self._failed_notice: list[CommittedPart] = []
        """The notice of these parts has failed. It is tried again, and newer batches do not wait for it."""
        self._spooled: dict[int, CommittedPart] = {}
        """Parts in the spool, by first id."""
        self._held: list[int] = []
        """Entries of the database's outbox that are newer than a spooled part. The relays get them after it."""
        self._held_until = 0.0

    def __bool__(self) -> bool:
        return bool(self._pending_notice or self._failed_notice or self._spooled or self._held)

    @property
    def in_spool(self) -> bool:
        return bool(self._spooled)

    def __iter__(self) -> Iterator[CommittedPart]:
        return iter([*self._pending_notice, *self._failed_notice, *self._spooled.values()])

    def add(self, part: CommittedPart) -> None:
        if part.target.in_database:
            self._pending_notice.append(part)
        else:
            self._spooled[part.batch.first_id] = part

    def published(self, first_id: int) -> None:
        """The stream has the part after all: its publish only seemed lost."""
        self._spooled.pop(first_id, None)

    async def notify(self) -> bool:
        """Enter relay mode if the database has deferred parts. Return whether that was necessary and succeeded.

        Clients that wait only for this are answered in any case.
        """
        parts = [*self._failed_notice, *self._pending_notice]
        if not parts:
            return False
        self._stop_publishing()
        now, later = self._split(parts)
        self.relays_have_older = True
        try:
            await self._store.enter_relay_mode(now, later, self._lease_seconds)
            self._held += later
            self._failed_notice = []
            return True
        except StoreError as exc:
            log.debug("relay mode could not be entered; tried again", extra={"reason": str(exc)})
            self._failed_notice = parts
            return False
        finally:
            tried = set(parts)
            self._pending_notice = [part for part in self._pending_notice if part not in tried]
            for part in parts:
                part.acknowledge()

    async def leave_to_relays(self, parts: Sequence[CommittedPart]) -> bool:
        """Leave these parts to the relays if relay mode is on. Return whether it is. Raises `StoreError`."""
        now, later = self._split(parts)
        relay_mode = await self._store.leave_to_relays(now, later, self._lease_seconds)
        if relay_mode:
            self._held += later
            self.relays_have_older = True
        return relay_mode

    async def release_held(self) -> bool:
        """Leave to the relays all held entries that no spooled part precedes. Return whether there were any.

        Renews the leases of the others. Raises `StoreError`.
        """
        free = [first_id for first_id in self._held if first_id < self._oldest_spooled]
        if free:
            self._stop_publishing()
            self.relays_have_older = True
            await self._store.enter_relay_mode(free, [], self._lease_seconds)
            self._held = [first_id for first_id in self._held if first_id not in free]
        if self._held and self._monotonic() > self._held_until:
            self._held_until = self._monotonic() + self._lease_seconds / RENEWALS
            await self._store.hold_back(self._held, self._lease_seconds)
        return bool(free)

    async def publish(self) -> None:
        """Publish spooled parts until the relays have, or will have, an older entry.

        Raises `PublishError` or `StoreError`.
        """
        while self._spool and (first_ids := self._next_spooled()):
            if self.relays_have_older and await self._look_for_older():
                return
            batches = await self._spool.read(first_ids)
            self.few_left = self.few_left or len(self._spooled) <= LAST_ENTRIES
            await self._publish(batches)
            await self._spool.settle(first_ids)
            for first_id in first_ids:
                if part := self._spooled.pop(first_id, None):
                    part.acknowledge()

    def _next_spooled(self) -> Sequence[int]:
        """The oldest spooled parts, up to the first entry that the relays are to have."""
        end = min([*self._held, *(part.batch.first_id for part in self._pending_notice)], default=ID_MAX)
        return sorted(first_id for first_id in self._spooled if first_id < end)[:READ_ENTRIES]

    async def _look_for_older(self) -> bool:
        """Ask the database for entries older than all spooled parts. A notice meanwhile sets the flag again."""
        self.relays_have_older, older = False, True
        try:
            older = await self._store.has_older(self._oldest_spooled)
        finally:
            self.relays_have_older = self.relays_have_older or older
        return older

    @property
    def _oldest_spooled(self) -> int:
        return min(self._spooled, default=ID_MAX)

    def _split(self, parts: Sequence[CommittedPart]) -> tuple[Sequence[int], Sequence[int]]:
        """The entries that the relays may have now, and later: those newer than a spooled part."""
        first_ids = [part.batch.first_id for part in parts if part.target.in_database]
        oldest = self._oldest_spooled
        return [i for i in first_ids if i < oldest], [i for i in first_ids if i > oldest]

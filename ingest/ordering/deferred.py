"""What a worker could not publish in its turn: told of, kept back, or published later, so that nothing overtakes it."""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

from ingest.clock import Monotonic
from ingest.errors import StoreError
from ingest.events.batch import Batch
from ingest.events.ids import ID_MAX
from ingest.ordering.commit_queue import CommittedPart
from ingest.outbox.base import Outbox

log = logging.getLogger("ingest.dispatcher")

LEFT_ENTRIES = 64
"""Read from the spool at a time."""
RENEWALS = 3
"""Of a lease, before it would end."""


class Order(Protocol):
    """See `ingest.ordering.base.OrderedStore`."""

    async def enter_relay_mode(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> None: ...
    async def leave_to_relays(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> bool: ...
    async def hold_back(self, first_ids: Sequence[int], lease_seconds: float) -> None: ...
    async def has_older(self, event_id: int) -> bool: ...


class DeferredBatches:
    """Of one worker. Empty (false) when the worker may publish by itself again.

    `publish` publishes batches of the spool, and is told how many are left; `leaving` is called before anything is
    left to the relays: nothing newer may be published from memory then.
    """

    def __init__(
        self,
        order: Order,
        spool: Outbox | None,
        publish: Callable[[Sequence[Batch], int], Awaitable[None]],
        leaving: Callable[[], None],
        lease_seconds: float,
        monotonic: Monotonic,
    ) -> None:
        self._order = order
        self._spool = spool
        self._publish = publish
        self._leaving = leaving
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self.shared = False
        """Something of this worker may be in the database's outbox still, for the relays: what it would publish now
        could overtake that."""
        self._pending_notice: list[CommittedPart] = []
        """In the database's outbox, which is not told yet."""
        self._failed_notice: list[CommittedPart] = []
        """Told in vain so far: while the database is away, what is newer does not wait for them."""
        self._spooled: dict[int, CommittedPart] = {}
        """In the spool, by their first ids."""
        self._kept_back: list[int] = []
        """Entries of the database's outbox that are newer than what is in the spool: the relays get them afterwards."""
        self._kept_until = 0.0

    def __bool__(self) -> bool:
        return bool(self._pending_notice or self._failed_notice or self._spooled or self._kept_back)

    @property
    def in_spool(self) -> bool:
        """Whether there is something for `publish`."""
        return bool(self._spooled)

    def __iter__(self) -> Iterator[CommittedPart]:
        return iter([*self._pending_notice, *self._failed_notice, *self._spooled.values()])

    def add(self, part: CommittedPart) -> None:
        if part.target.in_database:
            self._pending_notice.append(part)
        else:
            self._spooled[part.batch.first_id] = part

    def published(self, first_id: int) -> None:
        """After all, by a publish that was thought lost."""
        self._spooled.pop(first_id, None)

    async def tell(self) -> bool:
        """Tell the others that this worker is behind; whether that was done, and had to be.

        Who waits only for that is answered either way.
        """
        parts = [*self._failed_notice, *self._pending_notice]
        if not parts:
            return False
        self._leaving()
        now, later = self._for_relays(parts)
        self.shared = True
        try:
            await self._order.enter_relay_mode(now, later, self._lease_seconds)
            self._kept_back += later
            self._failed_notice = []
            return True
        except StoreError as exc:
            log.debug("the others could not be told", extra={"reason": str(exc)})
            self._failed_notice = parts
            return False
        finally:
            tried = set(parts)
            self._pending_notice = [part for part in self._pending_notice if part not in tried]
            for part in parts:
                part.acknowledge()

    async def leave_to_relays(self, parts: Sequence[CommittedPart]) -> bool:
        """Whether all are behind still: then these parts are left to the relays. Raises `StoreError`."""
        now, later = self._for_relays(parts)
        behind = await self._order.leave_to_relays(now, later, self._lease_seconds)
        if behind:
            self._kept_back += later
            self.shared = True
        return behind

    async def give_way(self) -> bool:
        """Let the relays have what is kept back, as far as nothing older is left: whether there was something.

        The leases of the others are renewed. Raises `StoreError`.
        """
        older = [first_id for first_id in self._kept_back if first_id < self._oldest]
        if older:
            self._leaving()
            self.shared = True
            await self._order.enter_relay_mode(older, [], self._lease_seconds)
            self._kept_back = [first_id for first_id in self._kept_back if first_id not in older]
        if self._kept_back and self._monotonic() > self._kept_until:
            self._kept_until = self._monotonic() + self._lease_seconds / RENEWALS
            await self._order.hold_back(self._kept_back, self._lease_seconds)
        return bool(older)

    async def publish(self) -> None:
        """What is in the spool, as far as the relays have none that are older, or will have. Raises `PublishError` or
        `StoreError`.
        """
        while self._spool and (first_ids := self._next_spooled()):
            if self.shared and await self._relays_have_older():
                return
            await self._publish(await self._spool.read(first_ids), len(self._spooled))
            await self._spool.settle(first_ids)
            for first_id in first_ids:
                if part := self._spooled.pop(first_id, None):
                    part.acknowledge()

    def _next_spooled(self) -> Sequence[int]:
        """The oldest, before the first that the relays are to have."""
        end = min([*self._kept_back, *(part.batch.first_id for part in self._pending_notice)], default=ID_MAX)
        return sorted(first_id for first_id in self._spooled if first_id < end)[:LEFT_ENTRIES]

    async def _relays_have_older(self) -> bool:
        """Whether the relays have older ones than what is in the spool; what is told meanwhile is not forgotten."""
        self.shared, older = False, True
        try:
            older = await self._order.has_older(self._oldest)
        finally:
            self.shared = self.shared or older
        return older

    @property
    def _oldest(self) -> int:
        """In the spool."""
        return min(self._spooled, default=ID_MAX)

    def _for_relays(self, parts: Sequence[CommittedPart]) -> tuple[Sequence[int], Sequence[int]]:
        """What the relays may have of the parts at once, and what is newer than something in the spool."""
        first_ids = [part.batch.first_id for part in parts if part.target.in_database]
        oldest = self._oldest
        return [i for i in first_ids if i < oldest], [i for i in first_ids if i > oldest]

"""From commit to confirm, in memory: publishes what was just committed, and settles its outbox entry.

What cannot be published now is dropped from memory and left to the relay: it is in the outbox.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Protocol

import msgspec

from ingest.batches import Batch
from ingest.clock import Monotonic
from ingest.errors import NotConfirmed, PublishError, StoreError
from ingest.metrics import Metrics
from ingest.outage import Outage
from ingest.publisher.base import Publisher
from ingest.store.base import Store

log = logging.getLogger("ingest.dispatcher")

SETTLE_DELAY_SECONDS = 0.1
"""How long a confirmed batch waits for the next commit to settle it on the way."""
SETTLED_ENTRIES_MAX = 500
SETTLED_ENTRIES_MIN = 8
"""Fewer wait for the timer: a statement more in a commit costs more than it saves."""


class Successor(Protocol):
    """Who publishes what failed here; see `ingest.relay`."""

    def take_over(self, first_id: int, positions: Sequence[int]) -> None: ...


class DispatcherLimits(msgspec.Struct, frozen=True):
    inflight_events_max: int
    inflight_bytes_max: int
    lease_seconds: float


class Dispatcher:
    """See the module. Batches are written to the broker in the order of `dispatch` calls."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        successor: Successor,
        limits: DispatcherLimits,
        outage: Outage,
        metrics: Metrics,
        monotonic: Monotonic,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._successor = successor
        self._limits = limits
        self._outage = outage
        self._metrics = metrics
        self._monotonic = monotonic
        self._inflight_events = 0
        self._inflight_bytes = 0
        self._tasks: set[asyncio.Task[object]] = set()
        self._settled: deque[int] = deque()
        self._settle_timer: asyncio.TimerHandle | None = None

    @property
    def inflight_events(self) -> int:
        return self._inflight_events

    def lease_seconds(self) -> float:
        """How long a new outbox entry is nobody's to claim; with the broker away the relay may at once."""
        return self._limits.lease_seconds if self._publisher.ready else 0.0

    def dispatch(self, batch: Batch, lease_seconds: float) -> None:
        """Begin to publish, or leave the batch to the relay. Never waits, never fails.

        With a lease, which the entry was committed with, only this worker's relay may have it before the lease ends.
        """
        size = sum(len(event.payload) for event in batch.events)
        over = (
            self._inflight_events + len(batch) > self._limits.inflight_events_max
            or self._inflight_bytes + size > self._limits.inflight_bytes_max
        )
        if over or not self._publisher.ready:
            self._metrics.released.inc(len(batch))
            self._outage.left_to_relay(len(batch), self._publisher.problem or "too many events are in flight")
            if lease_seconds:
                self._successor.take_over(batch.first_id, range(len(batch)))
            return
        self._inflight_events += len(batch)
        self._inflight_bytes += size
        self._start(self._publish(batch, size))

    def take_settled(self) -> Sequence[int]:
        """Entries to settle with the commit that is made now."""
        return self._take_settled() if len(self._settled) >= SETTLED_ENTRIES_MIN else []

    def give_back_settled(self, first_ids: Sequence[int]) -> None:
        """That commit failed: settle them later."""
        self._settled.extend(first_ids)
        self._settle_soon()

    async def drain(self) -> None:
        """Return when nothing is in flight and all is settled; the caller bounds the wait."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        while self._settled and await self._settle():
            pass

    async def close(self) -> None:
        if self._settle_timer:
            self._settle_timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _publish(self, batch: Batch, size: int) -> None:
        await asyncio.sleep(0)  # those who wait for the commit are answered first
        started = self._monotonic()
        try:
            await self._publisher.publish(batch)
        except PublishError as exc:
            self._metrics.publish_failed.labels("memory").inc(len(batch))
            self._outage.left_to_relay(len(batch), str(exc))
            positions = exc.positions if isinstance(exc, NotConfirmed) else range(len(batch))
            self._successor.take_over(batch.first_id, positions)
        else:
            self._metrics.publish_seconds.observe(self._monotonic() - started)
            self._metrics.published.labels("memory").inc(len(batch))
            self._outage.over()
            self._settled.append(batch.first_id)
            self._settle_soon()
        finally:
            self._inflight_events -= len(batch)
            self._inflight_bytes -= size

    def _settle_soon(self) -> None:
        if self._settle_timer is None and self._settled:
            loop = asyncio.get_running_loop()
            self._settle_timer = loop.call_later(SETTLE_DELAY_SECONDS, self._settle_now)

    def _settle_now(self) -> None:
        self._settle_timer = None
        if self._settled:
            self._start(self._settle())

    def _take_settled(self) -> Sequence[int]:
        return [self._settled.popleft() for _ in range(min(len(self._settled), SETTLED_ENTRIES_MAX))]

    async def _settle(self) -> bool:
        """Settle as many as one statement takes; False if it failed, and is tried again later."""
        first_ids = self._take_settled()
        if not first_ids:
            return True  # a commit has taken them meanwhile
        try:
            await self._store.settle(first_ids)
        except StoreError as exc:
            log.debug("settling failed; tried again later", extra={"reason": str(exc)})
            self.give_back_settled(first_ids)
            return False
        self._settle_soon()
        return True

    def _start(self, work: Coroutine[None, None, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("publishing failed unexpectedly", exc_info=task.exception())

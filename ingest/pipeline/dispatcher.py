"""From commit to confirm, in memory: natural group publish of what was just committed.

Whenever no publish waits for its confirm, all that has been committed meanwhile is published at once: a
loaded broker gets few large writes instead of many small ones. What cannot be published now is dropped
from memory and left to the relay: it is in the outbox.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence

import msgspec

from ingest.broker.base import Publisher
from ingest.clock import Monotonic, NowUs
from ingest.errors import NotConfirmed, PublishError
from ingest.events.batch import Batch, joined
from ingest.pipeline.commit_target import CommitTarget
from ingest.tasks import Background
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage

log = logging.getLogger("ingest.dispatcher")

Group = Sequence[tuple[Batch, CommitTarget]]

GROUP_EVENTS = 1000
"""Published at once as soon as so many wait, whatever is unconfirmed; a group has at most a batch more."""


class DispatcherLimits(msgspec.Struct, frozen=True):
    inflight_events_max: int
    inflight_bytes_max: int
    lease_seconds: float


class Dispatcher:
    """See the module. Batches are written to the broker in the order of `dispatch` calls."""

    def __init__(
        self,
        publisher: Publisher,
        limits: DispatcherLimits,
        outage: Outage,
        metrics: Metrics,
        monotonic: Monotonic,
        now_us: NowUs,
    ) -> None:
        self._publisher = publisher
        self._limits = limits
        self._outage = outage
        self._metrics = metrics
        self._latency = metrics.end_to_end_seconds.labels("memory")
        self._monotonic = monotonic
        self._now_us = now_us
        self._waiting: deque[tuple[Batch, CommitTarget]] = deque()
        self._waiting_events = 0
        self._inflight_events = 0
        self._inflight_bytes = 0
        self._publishing = 0
        """Tasks that look for what waits. Not the set's size: a task is in it for a moment after it has looked last."""
        self._tasks = Background()

    @property
    def inflight_events(self) -> int:
        return self._inflight_events

    @property
    def takes_late(self) -> bool:
        """Whether a batch may be dispatched after `finish`. Here its order among others does not matter."""
        return True

    @property
    def relay_mode(self) -> bool:
        """Whether only what is committed to the database is published in order. Here there is none."""
        return False

    def lease_seconds(self, target: CommitTarget) -> float:
        """How long a new outbox entry is nobody's to claim; with the broker away the relay may at once."""
        return self._limits.lease_seconds if self._publisher.ready else 0.0

    def expect(self, batch: Batch) -> None:
        """The batch is about to be committed. Here its order among others does not matter."""

    def dispatch(self, batch: Batch, lease_seconds: float, target: CommitTarget, behind: bool = False) -> None:
        """Begin to publish, or leave the batch to its home's relay. Never waits, never fails.

        With a lease, which the entry was committed with, only this worker's relay may have it before the lease ends.
        """
        size = batch.payload_bytes
        if not self._publisher.ready or self._is_over(len(batch), size):
            self._metrics.released.inc(len(batch))
            self._outage.record(len(batch), self._publisher.problem or "too many events are in flight")
            if lease_seconds:
                target.relay.retry(batch.first_id, range(len(batch)))
            return
        self._append(batch, target)
        self._begin()

    def finish(self, batch: Batch) -> "asyncio.Future[None] | None":
        """The batch is committed, or what of it can be. Without a future, who waits for it is answered at once."""
        return None

    async def drain(self) -> None:
        """Return when nothing is in flight; the caller bounds the wait."""
        await self._tasks.wait()

    async def close(self) -> None:
        await self._tasks.end()

    def _append(self, batch: Batch, target: CommitTarget) -> None:
        self._inflight_events += len(batch)
        self._inflight_bytes += batch.payload_bytes
        self._waiting.append((batch, target))
        self._waiting_events += len(batch)

    def _begin(self) -> None:
        if self._waiting and (not self._publishing or self._waiting_events >= GROUP_EVENTS):
            self._publishing += 1
            self._tasks.start(self._publish_waiting(), "publishing")

    def _give_up_waiting(self) -> Iterator[Batch]:
        """What waits is not published from here."""
        while self._waiting:
            batch, _ = self._waiting.popleft()
            self._waiting_events -= len(batch)
            self._inflight_events -= len(batch)
            self._inflight_bytes -= batch.payload_bytes
            yield batch

    def _is_over(self, events: int, size: int) -> bool:
        return (
            self._inflight_events + events > self._limits.inflight_events_max
            or self._inflight_bytes + size > self._limits.inflight_bytes_max
        )

    async def _publish_waiting(self) -> None:
        try:
            await asyncio.sleep(0)  # those who wait for the commit are answered first
            await self._publish_groups()
        finally:
            self._publishing -= 1

    async def _publish_groups(self) -> None:
        while self._waiting:
            group = self._take_group()
            together = joined([batch for batch, _ in group])
            try:
                await self._publish_group(group, together)
            except Exception:
                log.exception("publishing failed unexpectedly; the relay has the events when their lease is over")
                self._metrics.background_failures.labels("publishing").inc()
            finally:
                self._inflight_events -= len(together)
                self._inflight_bytes -= together.payload_bytes

    async def _publish_group(self, group: Group, together: Batch) -> None:
        refused = await self._publish(together)
        self._settle_or_hand_over(group, refused)

    def _take_group(self) -> Group:
        """Of one writer, as they are published together."""
        group: list[tuple[Batch, CommitTarget]] = []
        events, producer = 0, self._waiting[0][0].producer
        while self._waiting and events < GROUP_EVENTS and self._waiting[0][0].producer == producer:
            group.append(self._waiting.popleft())
            events += len(group[-1][0])
        self._waiting_events -= events
        return group

    async def _publish(self, batch: Batch) -> Sequence[int]:
        """The positions (ascending) of what the broker did not take."""
        started = self._monotonic()
        refused: Sequence[int] = ()
        try:
            await self._publisher.publish(batch)
        except PublishError as exc:
            refused = exc.positions if isinstance(exc, NotConfirmed) else range(len(batch))
            self._metrics.publish_failed.labels("memory").inc(len(refused))
            self._outage.record(len(refused), str(exc))
        else:
            self._metrics.publish_seconds.observe(self._monotonic() - started)
            self._outage.recovered()
        self._metrics.published.labels("memory").inc(len(batch) - len(refused))
        return refused

    def _settle_or_hand_over(self, group: Group, refused: Sequence[int]) -> None:
        """`refused` are positions in the whole group."""
        start, now_us = 0, self._now_us()
        for batch, target in group:
            stop = start + len(batch)
            positions = [position - start for position in refused if start <= position < stop]
            if positions:
                target.relay.retry(batch.first_id, positions)
            else:
                target.settler.add([batch.first_id])
            self._latency.observe_times((now_us - batch.created_us) / 1e6, len(batch) - len(positions))
            start = stop

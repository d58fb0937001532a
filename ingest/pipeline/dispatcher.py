"""Publishes committed batches from memory, and settles what the broker confirms: natural group publish.

Whenever no publish waits for its confirm, the dispatcher publishes at once all batches committed meanwhile. A loaded
broker gets few large writes instead of many small ones. A batch that cannot be published now is dropped from memory.
The relay publishes it from the outbox.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

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
"""This many waiting events are published at once, even behind an unconfirmed publish. A group has one batch more."""


class DispatcherLimits(msgspec.Struct, frozen=True):
    inflight_events_max: int
    inflight_bytes_max: int
    lease_seconds: float


class Dispatcher:
    """Writes batches to the broker in the order of the calls of `dispatch`."""

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
        self._published = metrics.published.labels("memory")  # once, as `labels` costs more than to count
        self._monotonic = monotonic
        self._now_us = now_us
        self._waiting: deque[tuple[Batch, CommitTarget]] = deque()
        self._waiting_events = 0
        self._inflight_events = 0
        self._inflight_bytes = 0
        self._publishing = 0
        """Tasks that still look for waiting batches. A task stays in the set below for a moment after its last look."""
        self._tasks = Background()

    @property
    def inflight_events(self) -> int:
        return self._inflight_events

    def lease_seconds(self, target: CommitTarget) -> float:
        """Lease of a new outbox entry. While the broker is away there is none, so any relay may claim the entry."""
        return self._limits.lease_seconds if self._publisher.ready else 0.0

    def dispatch(self, batch: Batch, lease_seconds: float, target: CommitTarget, *, relay_mode: bool = False) -> None:
        """Begin to publish the batch, or leave it to the target's relay. Never waits, never fails.

        `lease_seconds` is the lease with which the batch was committed. Under a lease only this worker's relay may
        publish the entry. `relay_mode` is the result of the commit. It only matters where the order counts.
        """
        if self._publisher.ready and not self._is_over(batch):
            self._append(batch, target)
            self._begin()
            return
        self._metrics.released.inc(len(batch))
        self._outage.record(len(batch), self._publisher.problem or "too many events are in flight")
        if lease_seconds:
            target.relay.retry(batch, range(len(batch)))

    def repeats(self, batch: Batch, originals: Sequence[int]) -> None:
        """The batch has events that are in the database already, with these ids. It only matters for the order."""

    async def drain(self) -> None:
        """Return when nothing is in flight. The caller bounds the wait."""
        await self._tasks.wait()

    async def close(self) -> None:
        await self._tasks.end()

    def _is_over(self, batch: Batch) -> bool:
        return (
            self._inflight_events + len(batch) > self._limits.inflight_events_max
            or self._inflight_bytes + batch.payload_bytes > self._limits.inflight_bytes_max
        )

    def _append(self, batch: Batch, target: CommitTarget) -> None:
        self._inflight_events += len(batch)
        self._inflight_bytes += batch.payload_bytes
        self._waiting.append((batch, target))
        self._waiting_events += len(batch)

    def _begin(self) -> None:
        if self._waiting and (not self._publishing or self._waiting_events >= GROUP_EVENTS):
            self._publishing += 1
            self._tasks.start(self._publish_waiting(), "publishing")

    async def _publish_waiting(self) -> None:
        try:
            await asyncio.sleep(0)  # clients that wait for the commit are answered first
            while self._waiting:
                await self._publish_next_group()
        finally:
            self._publishing -= 1

    async def _publish_next_group(self) -> None:
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

    def _take_group(self) -> Group:
        """Waiting batches of one producer, because they are published as one batch."""
        group: list[tuple[Batch, CommitTarget]] = []
        events, producer = 0, self._waiting[0][0].producer
        while self._waiting and events < GROUP_EVENTS and self._waiting[0][0].producer == producer:
            group.append(self._waiting.popleft())
            events += len(group[-1][0])
        self._waiting_events -= events
        return group

    async def _publish_group(self, group: Group, together: Batch) -> None:
        self._settle_or_retry(group, await self._publish(together))

    async def _publish(self, batch: Batch) -> Sequence[int]:
        """Publish the batch, and return the positions (ascending) that the broker did not take."""
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
        self._published.inc(len(batch) - len(refused))
        return refused

    def _settle_or_retry(self, group: Group, refused: Sequence[int]) -> None:
        """`refused` holds positions in the whole group."""
        start, now_us = 0, self._now_us()
        for batch, target in group:
            stop = start + len(batch)
            positions = [position - start for position in refused if start <= position < stop]
            if positions:
                target.relay.retry(batch, positions)
            else:
                target.settler.add([batch.first_id])
            self._latency.observe_times((now_us - batch.created_us) / 1e6, len(batch) - len(positions))
            start = stop

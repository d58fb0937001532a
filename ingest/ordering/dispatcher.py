"""Publishes in order: the stream has an event before its client can send the next one.

A worker publishes its batches in the order of their ids, not of their commits. Clients are answered when the stream
has their events. A worker that cannot publish switches every worker to relay mode: it sets a flag in the database
before it answers (`ingest.store.mysql.order`). From then on the relays of all nodes publish every new batch, in the
order of the ids. Only the worker itself publishes the batches in its spool. docs/ordering.md explains it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ingest.broker.base import OrderedPublisher
from ingest.clock import Monotonic, NowUs
from ingest.errors import PublishError, StoreError
from ingest.events.batch import Batch
from ingest.ordering.base import OrderedStore
from ingest.ordering.commit_queue import CommitQueue, CommittedPart, PendingBatch
from ingest.ordering.decisions import PendingDecisions
from ingest.ordering.deferred import PATIENCE_SECONDS, DeferredBatches
from ingest.ordering.originals import Originals
from ingest.ordering.publish import OrderedPublish
from ingest.outbox.base import Outbox
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.dispatcher import Dispatcher, DispatcherLimits, Group
from ingest.tasks import Background, raise_if_cancelled
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage

log = logging.getLogger("ingest.dispatcher")

TOO_SLOW = f"RabbitMQ has not confirmed within {PATIENCE_SECONDS:g} s"
OLDER_FIRST = "older events are to be published first"
OWN_LEASE_SECONDS = 86_400.0
"""Only the worker itself publishes its spooled entries while it lives. The next owner of the spool ends the leases."""
PAUSE_SECONDS = 0.05


class OrderedDispatcher(Dispatcher):
    def __init__(
        self,
        publisher: OrderedPublisher,
        store: OrderedStore,
        spool: Outbox | None,
        limits: DispatcherLimits,
        outage: Outage,
        metrics: Metrics,
        monotonic: Monotonic,
        now_us: NowUs,
        dead_letter_policy: DeadLetterPolicy,
    ) -> None:
        super().__init__(publisher, limits, outage, metrics, monotonic, now_us)
        self._ordered = OrderedPublish(publisher, dead_letter_policy, outage, metrics, monotonic)
        self._queue = CommitQueue()
        self._parts: dict[int, CommittedPart] = {}
        """Parts that are being published, or wait in memory for that, by first id."""
        self._deferring = asyncio.Event()
        """The worker publishes only deferred batches, because it could not publish one of its own."""
        self._background = Background()
        self._recovering: Sequence[asyncio.Task[None]] = ()
        self._deferred = DeferredBatches(self._ordered, store, spool, limits.lease_seconds)
        self._originals = Originals(store, limits.lease_seconds, self._background)
        self._decisions = PendingDecisions(self._queue, self._deferred, self._decide, self._background)

    @property
    def relay_mode(self) -> bool:
        """Relay mode is on, or will be, as far as this worker knows. Relays publish by the ids in the outbox."""
        return self._deferring.is_set() or self._deferred.relays_have_older or not self._publisher.ready

    def lease_seconds(self, target: CommitTarget) -> float:
        return self._limits.lease_seconds if target.in_database else OWN_LEASE_SECONDS

    def join(self, batch: Batch) -> PendingBatch:
        """Announce a batch before its commit. The caller finishes it. Batches join in the order of their ids."""
        return self._queue.join(batch)

    def dispatch(self, batch: Batch, lease_seconds: float, target: CommitTarget, *, relay_mode: bool = False) -> None:
        """Add a committed part to its batch. It is published when the batch leaves the queue."""
        self._queue.add(batch, target, relay_mode=relay_mode)

    def repeats(self, batch: Batch, originals: Sequence[int]) -> None:
        self._queue.repeats(batch, originals)

    def finish(self, pending: PendingBatch) -> None:
        """Publish the committed parts of the batch once all older batches have finished."""
        if pending.originals:
            self._originals.wait_for(pending)
        self._decisions.finish(pending)

    async def drain(self) -> None:
        await self._decisions.settle()
        await super().drain()
        await self._deferred.hand_over()

    async def close(self) -> None:
        await super().close()
        await self._background.end()
        for part in [*self._parts.values(), *self._decisions, *self._deferred]:
            part.acknowledge()  # it is durable

    def _decide(self, parts: Sequence[CommittedPart], relay_mode: bool | None) -> None:
        """Publish the parts that the relays do not publish."""
        if relay_mode is None:
            self._defer_all(OLDER_FIRST)  # perhaps: the database does not answer
        for part in parts:
            if relay_mode and part.target.in_database:
                self._metrics.released.inc(len(part.batch))
                part.acknowledge()
            else:
                self._publish_or_defer(part)
        self._begin()

    def _publish_or_defer(self, part: CommittedPart) -> None:
        deferring = self._deferring.is_set()
        if part.target.in_database and not deferring:
            self._deferred.relay_mode_is_off()
        if self._is_over(part.batch):
            self._defer_all("too many events are in flight")
        elif not self._publisher.ready:
            self._defer_all(self._publisher.problem or "RabbitMQ is away")
        elif deferring or self._deferred.relays_have_older:
            self._defer_all(OLDER_FIRST)
        else:
            self._parts[part.batch.first_id] = part
            self._append(part.batch, part.target)
            return
        self._defer(part)

    def _defer_all(self, reason: str) -> None:
        """Defer the batches that wait in memory, and publish only deferred batches from now on."""
        self._deferring.set()
        if not self._recovering:
            steps = self._deferred.hand_over, self._publish_deferred
            self._recovering = [self._background.start(self._repeat(step), "order-recovery") for step in steps]
        while self._waiting:
            batch, _ = self._waiting.popleft()
            self._waiting_events -= len(batch)
            self._inflight_events -= len(batch)
            self._inflight_bytes -= batch.payload_bytes
            self._defer(self._parts.pop(batch.first_id))
        if reason is not OLDER_FIRST:
            self._outage.record(0, reason)

    def _defer(self, part: CommittedPart) -> None:
        self._metrics.released.inc(len(part.batch))
        if self._outage.reason:
            self._outage.record(len(part.batch), self._publisher.problem or self._outage.reason)
        self._deferred.add(part)

    async def _publish_group(self, group: Group, together: Batch) -> None:
        parts = [self._parts[batch.first_id] for batch, _ in group]
        patience = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._defer_unconfirmed, parts, TOO_SLOW)
        try:
            await self._ordered.publish(together, parts)
        except PublishError as exc:
            self._metrics.publish_failed.labels("memory").inc(len(together))
            self._defer_unconfirmed(parts, str(exc))
        except BaseException:
            self._defer_unconfirmed(parts, "an unexpected failure")
            raise
        else:
            self._confirmed(parts)
        finally:
            patience.cancel()
            for part in parts:
                self._parts.pop(part.batch.first_id, None)

    def _confirmed(self, parts: Sequence[CommittedPart]) -> None:
        now_us = self._now_us()
        for part in parts:
            self._deferred.published(part.batch.first_id)
            part.target.settler.add([part.batch.first_id])
            part.acknowledge()
            self._latency.observe_times((now_us - part.batch.created_us) / 1e6, len(part.batch))

    def _defer_unconfirmed(self, parts: Sequence[CommittedPart], reason: str) -> None:
        """Defer parts that are being published. Parts that lost patience before they failed are deferred already."""
        self._defer_all(reason)
        for part in parts:
            if not part.deferred:
                part.deferred = True
                self._defer(part)

    async def _repeat(self, step: Callable[[], Awaitable[object]]) -> None:
        """Repeat a step of the recovery as long as the worker defers batches. The steps do not wait for each other.

        Clients wait for a hand-over, and a publish may take long.
        """
        while True:
            await self._deferring.wait()
            try:
                await step()
            except (PublishError, StoreError) as exc:
                self._defer_all(str(exc))
            except (Exception, asyncio.CancelledError) as exc:
                raise_if_cancelled(exc)
                log.exception("publishing deferred batches failed unexpectedly; it is tried again")
                self._metrics.background_failures.labels("publishing").inc()
                self._defer_all("an unexpected failure")
            if not self._deferred and not self._publishing:
                self._deferring.clear()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _publish_deferred(self) -> None:
        if self._publisher.ready and not self._publishing:
            await self._deferred.publish()

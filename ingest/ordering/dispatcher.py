"""Publishes in order: the stream has an event before its client can send the next one.

A worker publishes its batches in the order of their ids, not of their commits. Clients are answered when the stream
has their events. A worker that cannot publish switches every worker to relay mode: it sets a flag in the database
before it answers (`ingest.store.mysql.order`). From then on the relays of all nodes publish every new batch, in the
order of the ids. Only the worker itself publishes the batches in its spool. docs/ordering.md explains it.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from ingest.broker.base import OrderedPublisher
from ingest.clock import Monotonic, NowUs
from ingest.errors import PublishError, StoreError
from ingest.events.batch import Batch
from ingest.ordering.base import OrderedStore
from ingest.ordering.commit_queue import CommitQueue, CommittedPart, PendingBatch
from ingest.ordering.decisions import PendingDecisions
from ingest.ordering.deferred import DeferredBatches
from ingest.ordering.publish import OrderedPublish
from ingest.ordering.recovery import LONG_PATIENCE_SECONDS, OLDER_FIRST, PATIENCE_SECONDS, Recovery
from ingest.outbox.base import Outbox
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.dispatcher import Dispatcher, DispatcherLimits, Group
from ingest.tasks import Background
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage

TOO_SLOW = f"RabbitMQ has not confirmed within {PATIENCE_SECONDS:g} s"
OWN_LEASE_SECONDS = 86_400.0
"""Only the worker itself publishes its spooled entries while it lives. The next owner of the spool ends the leases."""


class OrderedDispatcher(Dispatcher):
    def __init__(
        self,
        publisher: OrderedPublisher,
        store: OrderedStore,
        spool: Outbox | None,
        queue: CommitQueue,
        limits: DispatcherLimits,
        outage: Outage,
        metrics: Metrics,
        monotonic: Monotonic,
        now_us: NowUs,
        dead_letter_policy: DeadLetterPolicy,
    ) -> None:
        super().__init__(publisher, limits, outage, metrics, monotonic, now_us)
        self._ordered = OrderedPublish(publisher, dead_letter_policy, outage, metrics, monotonic)
        self._queue = queue
        self._parts: dict[int, CommittedPart] = {}
        """Parts that are being published, or wait in memory for that, by first id."""
        self._deferring = False
        """The worker publishes only deferred batches, because it could not publish one of its own."""
        self._patient_until = 0.0  # a time of the loop's clock
        self._background = Background()
        publish, stop_publishing = self._ordered.publish_spooled, partial(self._defer_all, OLDER_FIRST)
        self._deferred = DeferredBatches(store, spool, publish, stop_publishing, limits.lease_seconds, monotonic)
        self._decisions = PendingDecisions(queue, self._take, self._leave_to_relays, self._decide, self._background)
        deferred, decisions, background = self._deferred, self._decisions, self._background
        self._recovery = Recovery(
            publisher, deferred, decisions, background, lambda: not self._publishing, self._defer_all, metrics
        )

    @property
    def relay_mode(self) -> bool:
        """Relay mode is on, or will be, as far as this worker knows. Relays publish by the ids in the outbox."""
        return self._deferring or self._deferred.relays_have_older or not self._publisher.ready

    def lease_seconds(self, target: CommitTarget) -> float:
        return self._limits.lease_seconds if target.in_database else OWN_LEASE_SECONDS

    def dispatch(self, batch: Batch, lease_seconds: float, target: CommitTarget) -> None:
        """Keep a committed part until its batch has finished."""
        self._queue.add(batch, target)

    def finish(self, pending: PendingBatch) -> None:
        """Publish the committed parts of the batch once all older batches have finished."""
        self._decisions.finish(pending)
        self._begin()

    async def drain(self) -> None:
        await self._decisions.settle()
        await super().drain()
        if await self._deferred.notify():
            self._decisions.raise_barrier()

    async def close(self) -> None:
        await super().close()
        await self._background.end()
        for part in [*self._parts.values(), *self._decisions, *self._deferred]:
            part.acknowledge()  # it is durable

    def _take(self, part: CommittedPart) -> None:
        if part.target.in_database and not self._deferring:
            self._deferred.relays_have_older = False  # the part was not committed in relay mode
        self._publish_or_defer(part)

    def _publish_or_defer(self, part: CommittedPart) -> None:
        if self._is_over(part.batch):
            self._defer_all("too many events are in flight")
        elif not self._publisher.ready:
            self._defer_all(self._publisher.problem or "RabbitMQ is away")
        elif self._deferred.relays_have_older and not self._deferring:
            self._defer_all(OLDER_FIRST)
        if self._deferring and not self._deferred.few_left:
            self._defer(part)
        else:
            self._parts[part.batch.first_id] = part
            self._append(part.batch, part.target)

    def _begin(self) -> None:
        if not self._deferring:
            super()._begin()

    async def _leave_to_relays(self, parts: Sequence[CommittedPart]) -> bool:
        try:
            return await self._deferred.leave_to_relays(parts)
        except StoreError as exc:
            self._defer_all(str(exc))
            return False

    def _decide(self, parts: Sequence[CommittedPart], relay_mode: bool) -> None:
        """Publish the parts that the relays do not publish."""
        if not relay_mode and not self._deferring:
            self._deferred.relays_have_older = False
        for part in parts:
            if relay_mode and part.target.in_database:
                self._metrics.released.inc(len(part.batch))
                part.acknowledge()
            else:
                self._publish_or_defer(part)
        self._begin()

    def _defer_all(self, reason: str) -> None:
        """Defer the batches that wait in memory, and publish only deferred batches from now on."""
        if not self._deferring:
            self._deferring = True
            self._patient_until = asyncio.get_running_loop().time() + LONG_PATIENCE_SECONDS
            self._background.start(self._recover(), "order-recovery")
        self._deferred.few_left = False
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
        if not part.target.in_database:  # it is published soon, or its clients are answered without the stream
            loop = asyncio.get_running_loop()
            until = max(self._patient_until, loop.time() + PATIENCE_SECONDS) if self._publisher.ready else 0.0
            loop.call_at(until, part.acknowledge)

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

    async def _recover(self) -> None:
        await self._recovery.run()
        self._deferring = self._deferred.few_left = False
        self._begin()

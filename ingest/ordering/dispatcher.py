"""From commit to confirm where the order counts: an event is in the stream before its client can send the next one.

A worker publishes its batches in the order of their ids, whatever the order of their commits, and they are answered
when the stream has them. When it cannot publish, it is behind: it tells the database so before it answers, and from
then on the relays of all nodes publish in the order of the ids what anyone commits (`ingest.store.mysql.order`). What
went to the spool is published from there by its own worker, in its turn. docs/streams.md says what that promises.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from ingest.broker.base import OrderedPublisher
from ingest.clock import Monotonic, NowUs
from ingest.errors import PublishError, StoreError
from ingest.events.batch import Batch
from ingest.ordering.commit_queue import CommitQueue, CommittedPart
from ingest.ordering.deferred import DeferredBatches, Order
from ingest.ordering.publish import OrderedPublish
from ingest.ordering.undecided import PendingDecisions
from ingest.outbox.base import Outbox
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.dispatcher import Dispatcher, DispatcherLimits, Group
from ingest.tasks import Background
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage

log = logging.getLogger("ingest.dispatcher")

PATIENCE_SECONDS = 0.25
"""Who waits longer for the stream is answered without it: clients time out soon after."""
LONG_PATIENCE_SECONDS = 1.75
"""Of a worker that has just fallen behind with events that are in the spool: with the database away, too, nobody can be
told that newer ones are to wait for them. A disk that stands still is soon over; clients of a long outage wait less.
"""
PAUSE_SECONDS = 0.05
LAST_ENTRIES = 16
"""So few that what comes meanwhile can wait in memory until they are published."""
OLDER_FIRST = "older events are to be published first"
OWN_LEASE_SECONDS = 86_400.0
"""What this worker has put into its spool is nobody else's to publish while it lives; its successor sets it free."""


class OrderedDispatcher(Dispatcher):
    """See the module."""

    def __init__(
        self,
        publisher: OrderedPublisher,
        order: Order,
        spool: Outbox | None,
        limits: DispatcherLimits,
        outage: Outage,
        metrics: Metrics,
        monotonic: Monotonic,
        now_us: NowUs,
        dead_letter_policy: DeadLetterPolicy,
    ) -> None:
        super().__init__(publisher, limits, outage, metrics, monotonic, now_us)
        self._turns = OrderedPublish(publisher, dead_letter_policy, metrics, monotonic)
        self._line = CommitQueue()
        self._parts: dict[int, CommittedPart] = {}
        """Of what is published now or waits for that, by its first id."""
        self._off = False
        """This worker publishes nothing but what is left, as something of its own could not be published."""
        self._patient_until = 0.0
        """By the loop's clock, as this worker has fallen behind."""
        self._finishing = False
        """What is left is so little that what comes waits for it in memory."""
        leaving = partial(self._fall_behind, OLDER_FIRST)
        self._left = DeferredBatches(order, spool, self._publish_left, leaving, limits.lease_seconds, monotonic)
        self._helpers = Background()
        self._doubts = PendingDecisions(self._line, self._ask, self._decide, self._helpers)

    @property
    def takes_late(self) -> bool:
        return False

    @property
    def relay_mode(self) -> bool:
        """While all are behind or will be, as far as this worker knows: the relays go by the outbox's ids."""
        return self._off or self._left.shared or not self._publisher.ready

    def lease_seconds(self, target: CommitTarget) -> float:
        return self._limits.lease_seconds if target.in_database else OWN_LEASE_SECONDS

    def expect(self, batch: Batch) -> None:
        """In the order of the ids."""
        self._line.join(batch)

    def dispatch(self, batch: Batch, lease_seconds: float, target: CommitTarget, behind: bool = False) -> None:
        ticket = self._line.ticket(batch)
        ticket.parts.append(CommittedPart(batch, target, ticket, behind))

    def finish(self, batch: Batch) -> "asyncio.Future[None] | None":
        """What of the batch is committed is published in its turn; the future is done when clients may be told."""
        answer = self._line.finish(batch).answer
        for ticket in self._line.leaving():
            for part in ticket.parts:
                if not self._doubts.hold(part):
                    self._take(part)
            self._doubts.passed(ticket)
        self._begin()
        return None if answer.done() else answer

    async def drain(self) -> None:
        await self._doubts.settle()
        await super().drain()
        if await self._left.tell():
            self._doubts.raise_barrier()

    async def close(self) -> None:
        await super().close()
        await self._helpers.end()
        for part in [*self._parts.values(), *self._doubts, *self._left]:
            part.acknowledge()  # it is durable

    def _take(self, part: CommittedPart) -> None:
        if part.target.in_database and not self._off:
            self._left.shared = False  # nobody was behind any more as this was committed
        self._send(part)

    def _send(self, part: CommittedPart) -> None:
        """Publish it in its turn, if that may be."""
        if self._is_over(len(part.batch), part.batch.payload_bytes):
            self._fall_behind("too many events are in flight")
        elif not self._publisher.ready:
            self._fall_behind(self._publisher.problem or "RabbitMQ is away")
        elif self._left.shared and not self._off:
            self._fall_behind(OLDER_FIRST)
        if self._off and not self._finishing:
            self._leave(part)
        else:
            self._parts[part.batch.first_id] = part
            self._append(part.batch, part.target)

    def _begin(self) -> None:
        if not self._off:
            super()._begin()

    async def _ask(self, parts: Sequence[CommittedPart]) -> bool:
        """Whether all are behind still: then these parts are left to the relays."""
        try:
            return await self._left.leave_to_relays(parts)
        except StoreError as exc:
            self._fall_behind(str(exc))
            return False

    def _decide(self, parts: Sequence[CommittedPart], behind: bool) -> None:
        """What is not the relays' is published like any other."""
        if not behind and not self._off:
            self._left.shared = False
        for part in parts:
            if behind and part.target.in_database:
                self._metrics.released.inc(len(part.batch))
                part.acknowledge()
            else:
                self._send(part)
        self._begin()

    def _fall_behind(self, reason: str) -> None:
        if not self._off:
            self._off = True
            self._patient_until = asyncio.get_running_loop().time() + LONG_PATIENCE_SECONDS
            self._helpers.start(self._recover(), "order-recovery")
        self._finishing = False
        for batch in self._give_up_waiting():
            self._leave(self._parts.pop(batch.first_id))
        if reason is not OLDER_FIRST:
            self._outage.record(0, reason)

    def _leave(self, part: CommittedPart) -> None:
        """It is published later, and not from memory."""
        self._metrics.released.inc(len(part.batch))
        if self._outage.reason:
            self._outage.record(len(part.batch), self._publisher.problem or self._outage.reason)
        self._left.add(part)
        if not part.target.in_database:
            # It is published soon, or who waits is answered without it.
            loop = asyncio.get_running_loop()
            until = max(self._patient_until, loop.time() + PATIENCE_SECONDS) if self._publisher.ready else 0.0
            loop.call_at(until, part.acknowledge)

    async def _publish_group(self, group: Group, together: Batch) -> None:
        parts = [self._parts[batch.first_id] for batch, _ in group]
        patience = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._lose_patience, parts)
        try:
            await self._turns.publish(together, parts)
            self._outage.recovered()
        except PublishError as exc:
            self._metrics.publish_failed.labels("memory").inc(len(together))
            self._fall_behind(str(exc))
            self._leave_open(parts)
        except BaseException:
            self._fall_behind("an unexpected failure")
            self._leave_open(parts)
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
            self._left.published(part.batch.first_id)
            part.target.settler.add([part.batch.first_id])
            part.acknowledge()
            self._latency.observe_times((now_us - part.batch.created_us) / 1e6, len(part.batch))

    def _lose_patience(self, parts: Sequence[CommittedPart]) -> None:
        self._fall_behind(f"RabbitMQ has not confirmed within {PATIENCE_SECONDS:g} s")
        self._leave_open(parts)

    def _leave_open(self, parts: Sequence[CommittedPart]) -> None:
        """Those that are not left already, as patience with them was lost before they failed."""
        for part in parts:
            if not part.left:
                part.left = True
                self._leave(part)

    async def _recover(self) -> None:
        """Until nothing of its own is left that only this worker can publish, or tell of.

        What may take long, to publish, does not hold up who only waits for the others to be told.
        """
        publishing: asyncio.Task[None] | None = None
        clock, impatient_at = asyncio.get_running_loop().time, 0.0
        while self._off:
            try:
                if await self._left.tell():
                    self._doubts.raise_barrier()
                if await self._left.give_way():
                    self._doubts.raise_barrier()
                if not publishing and self._left.in_spool and self._publisher.ready and not self._publishing:
                    publishing = self._helpers.start(self._left.publish(), "order-publishing")
                    impatient_at = clock() + PATIENCE_SECONDS
                if publishing and (await asyncio.wait([publishing], timeout=PAUSE_SECONDS))[0]:
                    ended, publishing = publishing, None
                    ended.result()
                elif self._finishing and clock() > impatient_at:
                    self._fall_behind(OLDER_FIRST)  # what came meanwhile waits in memory no longer
                if not self._left and not self._publishing and not publishing:
                    self._off = self._finishing = False
                    self._begin()
                    return
            except (PublishError, StoreError) as exc:
                self._fall_behind(str(exc))
            except Exception:
                log.exception("publishing what is left failed unexpectedly; it is tried again")
                self._metrics.background_failures.labels("publishing").inc()
                self._fall_behind("an unexpected failure")
            if not publishing:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _publish_left(self, batches: Sequence[Batch], entries: int) -> None:
        """Of the spool, where so many are left."""
        self._finishing = self._finishing or entries <= LAST_ENTRIES
        await self._turns.publish_left(batches)
        self._outage.recovered()

"""From commit to confirm where the order counts: an event is in the stream before its client can send the next one.

A worker publishes its batches in the order of their ids, whatever the order of their commits, and they are answered
when the stream has them. When it cannot publish, it is behind: it tells the database so before it answers, and from
then on the relays of all nodes publish in the order of the ids what anyone commits (`ingest.store.mysql_order`). What
went to the spool is published from there by its own worker, in its turn. docs/streams.md says what that promises.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from ingest.batches import Batch
from ingest.clock import Monotonic, NowUs
from ingest.dead_letters import Graveyard
from ingest.dispatcher import Dispatcher, DispatcherLimits, Group
from ingest.errors import PublishError, StoreError
from ingest.homes import Home
from ingest.leftovers import Leftovers, Order
from ingest.metrics import Metrics
from ingest.outage import Outage
from ingest.publisher.base import OrderedPublisher
from ingest.store.base import Outbox
from ingest.tasks import end
from ingest.tickets import Line, Part, Ticket
from ingest.turns import Turns

log = logging.getLogger("ingest.dispatcher")

PATIENCE_SECONDS = 0.25
"""Who waits longer for the stream is answered without it: clients time out soon after."""
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
        graveyard: Graveyard,
    ) -> None:
        super().__init__(publisher, limits, outage, metrics, monotonic, now_us)
        self._turns = Turns(publisher, graveyard, metrics, monotonic)
        self._line = Line()
        self._parts: dict[int, Part] = {}
        """Of what is published now or waits for that, by its first id."""
        self._held: deque[Part] = deque()
        """It may have to be left to the relays: the database is asked."""
        self._asking = False
        self._barrier: Ticket | None = None
        """The last batch whose commit may have begun before something of this worker was left to the relays: it must be
        left to them, too, whatever it has read."""
        self._off = False
        """This worker publishes nothing but what is left, as something of its own could not be published."""
        self._finishing = False
        """What is left is so little that what comes waits for it in memory."""
        self._left = Leftovers(order, spool, self._publish_left, self._not_in_memory, limits.lease_seconds, monotonic)
        self._helpers: set[asyncio.Task[None]] = set()

    @property
    def order_is_the_databases(self) -> bool:
        """While all are behind, as far as this worker knows: the relays go by the outbox's ids."""
        return self._off or self._left.shared

    def lease_seconds(self, home: Home) -> float:
        return self._limits.lease_seconds if home.in_database else OWN_LEASE_SECONDS

    def expect(self, batch: Batch) -> None:
        """In the order of the ids."""
        self._line.join(batch)

    def dispatch(self, batch: Batch, lease_seconds: float, home: Home, behind: bool = False) -> None:
        ticket = self._line.ticket(batch)
        ticket.parts.append(Part(batch, home, ticket, behind))

    def finish(self, batch: Batch) -> "asyncio.Future[None] | None":
        """What of the batch is committed is published in its turn; the future is done when clients may be told."""
        answer = self._line.finish(batch).answer
        for ticket in self._line.leaving():
            for part in ticket.parts:
                self._take(part)
            if ticket is self._barrier:
                self._barrier = None
        self._begin()
        return None if answer.done() else answer

    async def drain(self) -> None:
        await super().drain()
        if self._held:
            await self._ask()
        if await self._left.tell():
            self._barrier = self._line.last

    async def close(self) -> None:
        await super().close()
        await end(self._helpers)
        for part in [*self._parts.values(), *self._held, *self._left]:
            part.make_safe()  # it is durable

    def _take(self, part: Part) -> None:
        if part.behind or self._held or self._asking or self._barrier:
            self._held.append(part)
            if not self._asking:
                self._asking = True
                self._help(self._ask_until_none_is_held(), "order-asking")
            return
        if part.home.in_database and not self._off:
            self._left.shared = False  # nobody was behind any more as this was committed
        self._send(part)

    def _send(self, part: Part) -> None:
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
            self._append(part.batch, part.home)

    def _begin(self) -> None:
        if not self._off:
            super()._begin()

    async def _ask_until_none_is_held(self) -> None:
        try:
            while self._held:
                await self._ask()
        finally:
            self._asking = False

    async def _ask(self) -> None:
        """Whether all are behind still: then what is held is the relays', else it is published like any other."""
        parts = list(self._held)
        try:
            behind = await self._left.release(parts)
        except StoreError as exc:
            self._fall_behind(str(exc))
            behind = False
        for _ in parts:
            self._held.popleft()
        if behind:
            self._barrier = self._line.last
            for part in parts:
                if part.home.in_database:
                    self._metrics.released.inc(len(part.batch))
                    part.make_safe()
                else:
                    self._send(part)
            return
        while self._held and not self._held[0].behind:
            parts.append(self._held.popleft())
        if not self._off:
            self._left.shared = False
        for part in parts:
            self._send(part)
        self._begin()

    def _fall_behind(self, reason: str) -> None:
        if not self._off:
            self._off = True
            self._help(self._recover(), "order-recovery")
        self._finishing = False
        while self._waiting:
            batch, _ = self._waiting.popleft()
            self._waiting_events -= len(batch)
            self._inflight_events -= len(batch)
            self._inflight_bytes -= batch.payload_bytes
            self._leave(self._parts.pop(batch.first_id))
        if reason is not OLDER_FIRST:
            self._outage.concerns(0, reason)

    def _leave(self, part: Part) -> None:
        """It is published later, and not from memory."""
        self._metrics.released.inc(len(part.batch))
        if self._outage.reason:
            self._outage.concerns(len(part.batch), self._publisher.problem or self._outage.reason)
        self._left.add(part)
        if not part.home.in_database:
            # With the database away nobody can be told: it is published soon, or who waits is answered without it.
            seconds = PATIENCE_SECONDS if self._publisher.ready else 0.0
            asyncio.get_running_loop().call_later(seconds, part.make_safe)

    async def _publish_group(self, group: Group, together: Batch) -> None:
        parts = [self._parts[batch.first_id] for batch, _ in group]
        patience = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._lose_patience, parts)
        try:
            await self._turns.publish(together, parts)
            self._outage.over()
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

    def _confirmed(self, parts: Sequence[Part]) -> None:
        now_us = self._now_us()
        for part in parts:
            self._left.published(part.batch.first_id)
            part.home.settling.add([part.batch.first_id])
            part.make_safe()
            self._latency.observe_times((now_us - part.batch.created_us) / 1e6, len(part.batch))

    def _lose_patience(self, parts: Sequence[Part]) -> None:
        self._fall_behind(f"RabbitMQ has not confirmed within {PATIENCE_SECONDS:g} s")
        self._leave_open(parts)

    def _leave_open(self, parts: Sequence[Part]) -> None:
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
                    self._barrier = self._line.last
                if await self._left.give_way():
                    self._barrier = self._line.last
                if not publishing and self._left.in_spool and self._publisher.ready and not self._publishing:
                    publishing = self._help(self._left.publish(), "order-publishing")
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
                self._fall_behind("an unexpected failure")
            if not publishing:
                await asyncio.sleep(PAUSE_SECONDS)

    def _not_in_memory(self) -> None:
        """Something is left to the relays: nothing that waits in memory may overtake it."""
        self._fall_behind(OLDER_FIRST)

    async def _publish_left(self, batches: Sequence[Batch], entries: int) -> None:
        """Of the spool, where so many are left."""
        self._finishing = self._finishing or entries <= LAST_ENTRIES
        await self._turns.publish_left(batches)
        self._outage.over()

    def _help(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)
        return task

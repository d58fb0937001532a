"""From commit to confirm where the order counts: an event is in the stream before its client can send the next one.

A worker publishes its batches in the order of their ids, whatever the order of their commits, and they are answered
when the stream has them. When it cannot publish, it is behind: it tells the database so before it answers, and from
then on the relays of all nodes publish in the order of the ids what anyone commits (`ingest.store.mysql_order`). What
went to the spool is published from there by its own worker, in its turn. docs/streams.md says what that promises.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from ingest.batches import Batch
from ingest.clock import Monotonic, NowUs
from ingest.dispatcher import Dispatcher, DispatcherLimits, Group
from ingest.errors import PublishError, StoreError
from ingest.homes import Home
from ingest.metrics import Metrics
from ingest.outage import Outage
from ingest.publisher.base import OrderedPublisher
from ingest.store.base import Outbox
from ingest.tasks import end

log = logging.getLogger("ingest.dispatcher")

PATIENCE_SECONDS = 0.25
"""Who waits longer for the stream is answered without it: clients time out soon after."""
PAUSE_SECONDS = 0.05
LEFT_ENTRIES = 64
"""Read from the spool and published at a time."""
LAST_ENTRIES = 16
"""So few that what comes meanwhile can wait in memory until they are published."""
OLDER_FIRST = "older events are to be published first"
OWN_LEASE_SECONDS = 86_400.0
"""What this worker has put into its spool is nobody else's to publish while it lives; its successor sets it free."""


class Order(Protocol):
    """See `ingest.store.base.OrderedStore`."""

    async def fall_behind(self, first_ids: Sequence[int]) -> None: ...
    async def waits_before(self, event_id: int) -> bool: ...


class Graveyard(Protocol):
    """See `ingest.dead_letters`."""

    async def bury(self, batch: Batch, reason: str) -> None: ...


class Ticket:
    """A batch from before its commit on; committed in parts where rows were refused."""

    __slots__ = ("answer", "finished", "first_id", "last_id", "parts", "unsafe")

    def __init__(self, batch: Batch) -> None:
        self.first_id, self.last_id = batch.first_id, batch.last_id
        self.parts: list[Part] = []
        self.unsafe = 0
        """Parts of which nobody may be told yet."""
        self.finished = False
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Part:
    __slots__ = ("batch", "behind", "home", "safe", "ticket")

    def __init__(self, batch: Batch, home: Home, ticket: Ticket, behind: bool) -> None:
        self.batch = batch
        self.home = home
        self.ticket = ticket
        self.behind = behind
        self.safe = False

    def make_safe(self) -> None:
        """It is in the stream, or will be before what follows it."""
        if not self.safe:
            self.safe = True
            self.ticket.unsafe -= 1
            if not self.ticket.unsafe and not self.ticket.answer.done():
                self.ticket.answer.set_result(None)


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
    ) -> None:
        super().__init__(publisher, limits, outage, metrics, monotonic, now_us)
        self._ordered = publisher
        self._order = order
        self._spool = spool
        self._expected: deque[Ticket] = deque()
        self._parts: dict[int, Part] = {}
        """Of what is published now or waits for that, by its first id."""
        self._off = False
        """This worker may publish nothing but what is left, as something of its own is behind."""
        self._finishing = False
        """What is left is so little that what comes waits for it in memory."""
        self._untold: list[Part] = []
        """In the database's outbox, which is not told yet."""
        self._left: set[int] = set()
        """In the spool."""
        self._shared_left = False
        """Something of this worker may be in the database's outbox still, for the relays: what it would publish now
        could overtake that."""
        self._barrier: Ticket | None = None
        """The last batch that may have been committed before the others knew."""
        self._recovery: asyncio.Task[None] | None = None

    def lease_seconds(self, home: Home) -> float:
        if not home.in_database:
            return OWN_LEASE_SECONDS
        return self._limits.lease_seconds if self._publisher.ready and not self._off else 0.0

    def expect(self, batch: Batch) -> None:
        """In the order of the ids."""
        self._expected.append(Ticket(batch))

    def dispatch(self, batch: Batch, lease_seconds: float, home: Home, behind: bool = False) -> None:
        ticket = self._ticket(batch)
        ticket.parts.append(Part(batch, home, ticket, behind))

    def finish(self, batch: Batch) -> "asyncio.Future[None] | None":
        """What of the batch is committed is published in its turn; the future is done when clients may be told."""
        ticket = self._ticket(batch)
        ticket.parts.sort(key=lambda part: part.batch.first_id)
        ticket.unsafe, ticket.finished = len(ticket.parts), True
        if not ticket.parts:
            ticket.answer.set_result(None)
        self._advance()
        return None if ticket.answer.done() else ticket.answer

    async def drain(self) -> None:
        await super().drain()
        await self._tell()

    async def close(self) -> None:
        await super().close()
        if self._recovery:
            await end([self._recovery])
        for part in [*self._parts.values(), *self._untold]:
            part.make_safe()  # it is durable

    def _ticket(self, batch: Batch) -> Ticket:
        return next(ticket for ticket in self._expected if ticket.first_id <= batch.first_id <= ticket.last_id)

    def _advance(self) -> None:
        while self._expected and self._expected[0].finished:
            ticket = self._expected.popleft()
            for part in ticket.parts:
                self._take(part)
            if ticket is self._barrier:
                self._barrier = None
        self._begin()

    def _take(self, part: Part) -> None:
        batch = part.batch
        if part.behind:
            self._shared_left = True
            self._metrics.released.inc(len(batch))
            part.make_safe()
            return
        if part.home.in_database and not self._off:
            self._shared_left = False  # nobody is behind: so it said as this was committed
        if self._is_over(len(batch), batch.payload_bytes):
            self._fall_behind("too many events are in flight")
        elif self._shared_left or not self._publisher.ready:
            self._fall_behind(self._publisher.problem or OLDER_FIRST)
        if self._off and not self._finishing:
            self._leave(part)
        else:
            self._parts[batch.first_id] = part
            self._append(batch, part.home)

    def _begin(self) -> None:
        if not self._off:
            super()._begin()

    def _fall_behind(self, reason: str) -> None:
        self._finishing = False
        self._off = True
        while self._waiting:
            batch, _ = self._waiting.popleft()
            self._waiting_events -= len(batch)
            self._forget(batch)
            self._leave(self._parts.pop(batch.first_id))
        self._outage.concerns(0, reason)
        if self._recovery is None or self._recovery.done():
            self._recovery = asyncio.get_running_loop().create_task(self._recover(), name="order-recovery")

    def _forget(self, batch: Batch) -> None:
        self._inflight_events -= len(batch)
        self._inflight_bytes -= batch.payload_bytes

    def _leave(self, part: Part) -> None:
        """It is published later, and not from memory."""
        self._metrics.released.inc(len(part.batch))
        self._outage.concerns(len(part.batch), self._publisher.problem or OLDER_FIRST)
        if part.home.in_database:
            self._untold.append(part)
        else:
            self._left.add(part.batch.first_id)
            part.make_safe()  # with the database away, nobody can be told

    async def _publish_group(self, group: Group, together: Batch) -> None:
        parts = [self._parts[batch.first_id] for batch, _ in group]
        patience = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._lose_patience, parts)
        try:
            await self._publish_all(together)
        except (PublishError, StoreError) as exc:
            self._metrics.publish_failed.labels("memory").inc(len(together))
            self._fall_behind(str(exc))
            for part in parts:
                self._leave_unsafe(part)
        except BaseException:
            for part in parts:
                self._leave_unsafe(part)
            raise
        else:
            self._confirmed(parts)
        finally:
            patience.cancel()
            for part in parts:
                self._parts.pop(part.batch.first_id, None)

    async def _publish_all(self, batch: Batch) -> None:
        """Raises `PublishError` unless the stream has all but what it never takes, which is buried."""
        started = self._monotonic()
        await self._publisher.publish(batch)
        self._metrics.publish_seconds.observe(self._monotonic() - started)
        self._metrics.published.labels("memory").inc(len(batch))
        self._outage.over()

    def _confirmed(self, parts: Sequence[Part]) -> None:
        now_us = self._now_us()
        for part in parts:
            self._left.discard(part.batch.first_id)
            part.home.settling.add([part.batch.first_id])
            part.make_safe()
            self._latency.observe_times((now_us - part.batch.created_us) / 1e6, len(part.batch))

    def _lose_patience(self, parts: Sequence[Part]) -> None:
        self._fall_behind(f"RabbitMQ has not confirmed within {PATIENCE_SECONDS:g} s")
        for part in parts:
            self._leave_unsafe(part)

    def _leave_unsafe(self, part: Part) -> None:
        if not part.safe and part not in self._untold:
            self._leave(part)
        elif not part.home.in_database:
            self._left.add(part.batch.first_id)

    async def _recover(self) -> None:
        while self._off:
            try:
                told = await self._tell()
                free = told and self._publisher.ready and not self._publishing and self._barrier is None
                if free and await self._publish_left() and not self._untold:
                    self._off = self._finishing = False
                    self._begin()
                    return
            except (PublishError, StoreError) as exc:
                self._fall_behind(str(exc))
            except Exception:
                log.exception("publishing what is left failed unexpectedly; it is tried again")
                self._fall_behind("an unexpected failure")
            await asyncio.sleep(PAUSE_SECONDS)

    async def _tell(self) -> bool:
        """Whether the others know that this worker is behind; who waits only for that is answered either way."""
        parts, self._untold = self._untold, []
        if not parts:
            return True
        self._shared_left = True
        try:
            await self._order.fall_behind([part.batch.first_id for part in parts])
            self._barrier = self._expected[-1] if self._expected else None
            return True
        except StoreError as exc:
            log.debug("the others could not be told", extra={"reason": str(exc)})
            self._untold = parts + self._untold
            return False
        finally:
            for part in parts:
                part.make_safe()

    async def _publish_left(self) -> bool:
        """Whether nothing of the spool is left. Raises `PublishError` or `StoreError`."""
        if self._left and self._shared_left:
            if await self._order.waits_before(min(self._left)):
                return False
            self._shared_left = False
        while self._left and self._spool:
            self._finishing = self._finishing or len(self._left) <= LAST_ENTRIES
            first_ids = sorted(self._left)[:LEFT_ENTRIES]
            batches = await self._spool.read(first_ids)
            await self._ordered.publish_missing(batches)
            await self._spool.settle(first_ids)
            self._left.difference_update(first_ids)
            self._metrics.published.labels("spool").inc(sum(map(len, batches)))
            self._outage.over()
        return True

"""From commit to confirm where the order counts: an event is in the stream before its client can send the next one.

A worker publishes its batches in the order of their ids, whatever the order of their commits, and they are answered
when the stream has them. When it cannot publish, it is behind: it tells the database so before it answers, and from
then on the relays of all nodes publish in the order of the ids what anyone commits (`ingest.store.mysql_order`). What
went to the spool is published from there by its own worker, in its turn. docs/streams.md says what that promises.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, Protocol

from ingest.batches import Batch
from ingest.clock import Monotonic, NowUs
from ingest.dead_letters import Graveyard
from ingest.dispatcher import Dispatcher, DispatcherLimits, Group
from ingest.errors import NotConfirmed, PublishError, StoreError
from ingest.homes import Home
from ingest.metrics import Metrics
from ingest.outage import Outage
from ingest.publisher.base import OrderedPublisher
from ingest.store.base import Outbox
from ingest.tasks import end
from ingest.tickets import Line, Part, Ticket

log = logging.getLogger("ingest.dispatcher")

PATIENCE_SECONDS = 0.25
"""Who waits longer for the stream is answered without it: clients time out soon after."""
PAUSE_SECONDS = 0.05
LEFT_ENTRIES = 64
"""Read from the spool and published at a time."""
ID_MAX = (1 << 63) - 1
LAST_ENTRIES = 16
"""So few that what comes meanwhile can wait in memory until they are published."""
OLDER_FIRST = "older events are to be published first"
OWN_LEASE_SECONDS = 86_400.0
"""What this worker has put into its spool is nobody else's to publish while it lives; its successor sets it free."""


class Order(Protocol):
    """See `ingest.store.base.OrderedStore`."""

    async def fall_behind(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> None: ...
    async def release(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> bool: ...
    async def keep_back(self, first_ids: Sequence[int], lease_seconds: float) -> None: ...
    async def waits_before(self, event_id: int) -> bool: ...


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
        self._graveyard = graveyard
        self._ordered = publisher
        self._order = order
        self._spool = spool
        self._line = Line()
        self._parts: dict[int, Part] = {}
        """Of what is published now or waits for that, by its first id."""
        self._held: deque[Part] = deque()
        """It may have to be left to the relays: the database is asked."""
        self._asking = False
        self._barrier: Ticket | None = None
        """The last batch whose commit may have begun before something of this worker was left to the relays: it must be
        left to them, too, whatever it has read."""
        self._shared_left = False
        """Something of this worker may be in the database's outbox still, for the relays: what it would publish now
        could overtake that."""
        self._off = False
        """This worker publishes nothing but what is left, as something of its own could not be published."""
        self._finishing = False
        """What is left is so little that what comes waits for it in memory."""
        self._untold: list[Part] = []
        """In the database's outbox, which is not told yet."""
        self._left: dict[int, Part] = {}
        """In the spool, by their first ids."""
        self._kept_back: list[int] = []
        """Entries of the database's outbox that are newer than what is left: the relays get them afterwards."""
        self._kept_until = 0.0
        self._helpers: set[asyncio.Task[None]] = set()

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
        await self._tell()

    async def close(self) -> None:
        await super().close()
        await end(self._helpers)
        for part in [*self._parts.values(), *self._held, *self._untold, *self._left.values()]:
            part.make_safe()  # it is durable

    def _take(self, part: Part) -> None:
        if part.behind or self._held or self._asking or self._barrier:
            self._held.append(part)
            if not self._asking:
                self._asking = True
                self._help(self._ask_until_none_is_held(), "order-asking")
            return
        if part.home.in_database and not self._off:
            self._shared_left = False  # nobody was behind any more as this was committed
        self._send(part)

    def _send(self, part: Part) -> None:
        """Publish it in its turn, if that may be."""
        if self._is_over(len(part.batch), part.batch.payload_bytes):
            self._fall_behind("too many events are in flight")
        elif not self._publisher.ready:
            self._fall_behind(self._publisher.problem or "RabbitMQ is away")
        elif self._shared_left and not self._off:
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
        now, later = self._for_relays(parts)
        try:
            behind = await self._order.release(now, later, self._limits.lease_seconds)
        except StoreError as exc:
            self._fall_behind(str(exc))
            behind = False
        for _ in parts:
            self._held.popleft()
        if behind:
            self._left_to_relays(later)
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
            self._shared_left = False
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
        self._outage.concerns(0, reason)

    def _leave(self, part: Part) -> None:
        """It is published later, and not from memory."""
        self._metrics.released.inc(len(part.batch))
        self._outage.concerns(len(part.batch), self._publisher.problem or OLDER_FIRST)
        if part.home.in_database:
            self._untold.append(part)
        else:
            self._left[part.batch.first_id] = part
            # With the database away nobody can be told: it is published soon, or who waits is answered without it.
            seconds = PATIENCE_SECONDS if self._publisher.ready else 0.0
            asyncio.get_running_loop().call_later(seconds, part.make_safe)

    async def _publish_group(self, group: Group, together: Batch) -> None:
        parts = [self._parts[batch.first_id] for batch, _ in group]
        patience = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._lose_patience, parts)
        try:
            await self._publish_in_turn(together, parts)
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

    async def _publish_in_turn(self, together: Batch, parts: Sequence[Part]) -> None:
        """What is not in the database's outbox does not hold up the relays: newer events may have overtaken it."""
        started = self._monotonic()
        if all(part.home.in_database for part in parts):
            await self._but_hopeless(together, self._publisher.publish(together))
        else:
            for part in parts:
                await self._but_hopeless(part.batch, self._ordered.publish_missing([part.batch]))
        self._metrics.publish_seconds.observe(self._monotonic() - started)
        self._metrics.published.labels("memory").inc(len(together))
        self._outage.over()

    async def _but_hopeless(self, batch: Batch, publishing: Awaitable[None]) -> None:
        """What the stream never takes is buried, the others are there. Raises `PublishError` if it cannot be."""
        try:
            await publishing
        except NotConfirmed as exc:
            buried = await self._graveyard.bury_hopeless(batch, exc, 1)
            if set(exc.positions) - set(buried):
                raise

    def _confirmed(self, parts: Sequence[Part]) -> None:
        now_us = self._now_us()
        for part in parts:
            self._left.pop(part.batch.first_id, None)
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
        """Until nothing of its own is left that only this worker can publish, or tell of."""
        while self._off:
            try:
                told = await self._tell()
                if self._kept_back:
                    await self._give_way()
                left = self._publishing or not await self._publish_left() or self._kept_back or self._untold
                if told and not left:
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
        if not self._untold:
            return True
        self._fall_behind(OLDER_FIRST)  # nothing that waits in memory may overtake them
        parts, self._untold = self._untold, []
        now, later = self._for_relays(parts)
        self._shared_left = True
        try:
            await self._order.fall_behind(now, later, self._limits.lease_seconds)
            self._left_to_relays(later)
            return True
        except StoreError as exc:
            log.debug("the others could not be told", extra={"reason": str(exc)})
            self._untold = parts + self._untold
            return False
        finally:
            for part in parts:
                part.make_safe()

    def _for_relays(self, parts: Sequence[Part]) -> tuple[Sequence[int], Sequence[int]]:
        """What the relays may have of the parts at once, and what is newer than something left in the spool."""
        first_ids = [part.batch.first_id for part in parts if part.home.in_database]
        oldest = self._oldest_left
        return [i for i in first_ids if i < oldest], [i for i in first_ids if i > oldest]

    def _left_to_relays(self, later: Sequence[int]) -> None:
        self._kept_back += later
        self._shared_left = True
        self._barrier = self._line.last

    @property
    def _oldest_left(self) -> int:
        return min(self._left, default=ID_MAX)

    async def _give_way(self) -> None:
        """Let the relays have what is kept back, as far as nothing older is left; renew the leases of the others."""
        older = [first_id for first_id in self._kept_back if first_id < self._oldest_left]
        if older:
            self._fall_behind(OLDER_FIRST)
            await self._order.fall_behind(older, [], 0.0)
            self._kept_back = [first_id for first_id in self._kept_back if first_id not in older]
            self._left_to_relays([])
        if self._kept_back and self._monotonic() > self._kept_until:
            self._kept_until = self._monotonic() + self._limits.lease_seconds / 3
            await self._order.keep_back(self._kept_back, self._limits.lease_seconds)

    async def _publish_left(self) -> bool:
        """Whether nothing of the spool is left. Raises `PublishError` or `StoreError`."""
        if not self._left or not self._spool:
            return True
        if not self._publisher.ready:
            return False
        if self._shared_left:
            if await self._order.waits_before(min(self._left)):
                return False
            self._shared_left = False
        while self._left:
            self._finishing = self._finishing or len(self._left) <= LAST_ENTRIES
            first_ids = sorted(self._left)[:LEFT_ENTRIES]
            batches = await self._spool.read(first_ids)
            for batch in batches:
                await self._but_hopeless(batch, self._ordered.publish_missing([batch]))
            await self._spool.settle(first_ids)
            self._metrics.published.labels("spool").inc(sum(map(len, batches)))
            self._outage.over()
            for first_id in first_ids:
                if part := self._left.pop(first_id, None):
                    part.make_safe()
        return True

    def _help(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)

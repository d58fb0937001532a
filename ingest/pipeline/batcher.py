"""Natural group commit: whenever the writer is free it takes all that has queued.

No timer lingers. An idle service commits one event at once; a loaded one makes large batches, because
events queue while the writer is busy. Further writers help when that does not do: once a whole batch
is full, or when events have waited `patience_seconds` behind one commit.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from ingest.clock import Monotonic, NowUs
from ingest.errors import IdsTaken, Overloaded, StoreError, StoreUnavailable
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import IdGenerator
from ingest.pipeline.committer import Committer
from ingest.pipeline.outcomes import Failures, Undecided
from ingest.tasks import end, supervise
from ingest.telemetry.metrics import Metrics

log = logging.getLogger("ingest.batcher")


RENAMES_MAX = 4
"""Ids a batch gets one after the other, as other events have the ids before."""


async def nobody_gives_up(batch: Batch) -> None:
    """Nobody sees to other ids."""
    raise StoreError


class BatcherLimits(msgspec.Struct, frozen=True):
    batch_events_max: int
    batch_bytes_max: int
    queue_events_max: int
    queue_bytes_max: int
    queue_seconds_max: float
    """Nobody joins a queue whose first event has waited for so long: better refused at once than answered too late."""
    writers: int
    patience_seconds: float


class Group:
    """Events that wait for the same commit. `done` tells all of them: None, or who failed and why."""

    __slots__ = ("bytes", "bytes_max", "done", "events", "events_max", "help", "received", "requests", "since")

    def __init__(self, done: "asyncio.Future[Failures | None]", since: float, events_max: int, bytes_max: int) -> None:
        self.events_max = events_max
        self.bytes_max = bytes_max
        self.events: list[Event] = []
        self.received: list[float] = []
        """When each came."""
        self.bytes = 0
        self.requests = 0
        """Answered with this group, if it is whole: those of one event."""
        self.done = done
        self.since = since
        self.help: asyncio.TimerHandle | None = None


class Batcher:
    """Takes events one by one, and has them committed by the batch."""

    def __init__(
        self,
        committer: Committer,
        limits: BatcherLimits,
        metrics: Metrics,
        now_us: NowUs,
        monotonic: Monotonic,
    ) -> None:
        self.give_up: Callable[[Batch], Awaitable[None]] = nobody_gives_up
        """Told of a batch whose ids other events have; sees to other ids. Raises `StoreError`."""
        self._committer = committer
        self._limits = limits
        self._metrics = metrics
        self._now_us = now_us
        self._monotonic = monotonic
        self._ids: IdGenerator | None = None
        self._groups: deque[Group] = deque()
        self._last: Group | None = None
        """The one that may take more."""
        self._idle: list[asyncio.Future[None]] = []
        self._writers: list[asyncio.Task[None]] = []
        self._busy = 0

    @property
    def queued_events(self) -> int:
        return sum(len(group.events) for group in self._groups)

    @property
    def _queued_bytes(self) -> int:
        return sum(group.bytes for group in self._groups)

    def start(self) -> None:
        count = self._metrics.background_failures.labels("writer").inc
        self._writers = [supervise(self._write, f"writer-{n}", count) for n in range(self._limits.writers)]

    def use_ids(self, ids: IdGenerator | None) -> None:
        """From now on events get ids of this generator; without one none are taken."""
        self._ids = ids

    def submit(self, event: Event, requests: int = 0) -> "asyncio.Future[Failures | None]":
        """Queue an event. The future is shared by its whole group: never cancel it.

        Its result is None once all is durable, else `Failures`. `requests` (0 or 1) are counted as queued with a
        group without failures. Raises `Overloaded` or, before the
        first id slot is there, `StoreUnavailable`.
        """
        size = len(event.payload)
        group = self._last
        # What limits the queue is looked at when a group is opened, and limits the group from then on.
        if group is None or len(group.events) >= group.events_max or group.bytes + size > group.bytes_max:
            group = self._open_group(size)
        group.events.append(event)
        group.received.append(self._monotonic())
        group.bytes += size
        group.requests += requests
        return group.done

    async def drain(self) -> None:
        """Return when nothing is queued or being committed; the caller bounds the wait."""
        while self._groups or self._busy:
            await asyncio.wait([group.done for group in self._groups] or [self._soon()])
        await self._committer.drain()

    async def close(self) -> None:
        await end(self._writers)
        await self._committer.close()
        for group in self._groups:
            self._answer(group, _all(group, StoreUnavailable()))
        self._groups.clear()
        self._last = None

    def _soon(self) -> "asyncio.Future[None]":
        return asyncio.ensure_future(asyncio.sleep(0.01))

    def _open_group(self, size: int) -> Group:
        """For an event of so many bytes, which may be larger than a batch should be: then it goes alone."""
        limits = self._limits
        if self._ids is None:
            raise StoreUnavailable
        events_left = limits.queue_events_max - self.queued_events
        bytes_left = limits.queue_bytes_max - self._queued_bytes
        now = self._monotonic()
        late = self._groups and now - self._groups[0].since > limits.queue_seconds_max
        if events_left < 1 or bytes_left < size or late:
            raise Overloaded
        loop = asyncio.get_running_loop()
        group = Group(
            loop.create_future(),
            now,
            min(limits.batch_events_max, events_left),
            min(limits.batch_bytes_max, bytes_left),
        )
        if self._groups or not self._busy:
            self._wake_writer()  # a full group waits, or nobody works
        else:
            group.help = loop.call_later(limits.patience_seconds, self._wake_writer)
        self._groups.append(group)
        self._last = group
        return group

    def _wake_writer(self) -> None:
        """The writer runs after this round of the loop, so what arrives in it shares the commit."""
        if self._idle:
            self._idle.pop().set_result(None)

    async def _write(self) -> None:
        while True:
            while not self._groups:
                idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(idle)
                try:
                    await idle
                finally:
                    with suppress(ValueError):
                        self._idle.remove(idle)
            await asyncio.sleep(0)  # requests that are ready to run join this commit
            if not self._groups:
                continue  # another writer took it
            group = self._groups.popleft()
            if group is self._last:
                self._last = None
            if group.help:
                group.help.cancel()
            self._busy += 1
            try:
                await self._commit_group(group)
            except Exception:
                self._answer(group, _all(group, StoreError()))
                raise
            finally:
                self._busy -= 1

    async def _commit_group(self, group: Group) -> None:
        waited = self._monotonic() - group.since
        self._metrics.queue_seconds.observe(waited)
        try:
            for renames_left in reversed(range(RENAMES_MAX)):
                if await self._commit_sealed(group, self._seal(group), waited, may_rename=renames_left > 0):
                    return
        except StoreError as exc:
            self._answer(group, _all(group, exc))

    async def _commit_sealed(self, group: Group, batch: Batch, waited: float, *, may_rename: bool) -> bool:
        """Answer the group. False: other events have the ids, nobody was told of these, and there are other ids now."""
        failures: Failures = {}
        renamed = False
        self._committer.expect(batch)
        try:
            failures = await self._committer.commit(batch, waited)
        except IdsTaken as exc:
            failures = _all(group, exc)
            renamed = may_rename and await self._has_other_ids(batch)
        except StoreError as exc:
            failures = _all(group, exc)
        except asyncio.CancelledError:
            failures = _all(group, StoreUnavailable())
            raise
        except Exception:
            log.exception("commit failed unexpectedly", extra={"events": len(group.events)})
            failures = _all(group, StoreError())
        finally:
            published = self._committer.finish(batch)
            if renamed:
                pass  # nothing of it was kept
            elif published is None:
                self._answer(group, failures)
            else:
                published.add_done_callback(lambda _: self._answer(group, failures))
        return not renamed

    async def _has_other_ids(self, batch: Batch) -> bool:
        try:
            await self.give_up(batch)
        except StoreError:
            return False
        return self._ids is not None

    def _seal(self, group: Group) -> Batch:
        if self._ids is None:
            raise StoreUnavailable
        return Batch(self._ids.take(len(group.events)), group.events, self._now_us(), self._ids.producer)

    def _answer(self, group: Group, failures: Failures) -> None:
        if not group.done.done():
            if group.requests and not failures:
                self._metrics.single_queued.inc(group.requests)
            self._metrics.ack_seconds.observe_since(self._monotonic(), group.received)
            group.done.set_result(failures or None)


def _all(group: Group, error: StoreError) -> Failures:
    return dict.fromkeys(map(id, group.events), error)


async def failure_of(event: Event, failures: Failures | None) -> StoreError | None:
    """What became of the event in its group's outcome; None if it is durable."""
    failure = failures.get(id(event)) if failures else None
    return await failure.failure() if isinstance(failure, Undecided) else failure

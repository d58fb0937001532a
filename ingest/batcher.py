"""Natural group commit: whenever the writer is free it takes all that has queued.

No timer lingers. An idle service commits one event at once; a loaded one makes large batches, because
events queue while the writer is busy. Further writers help when that does not do: once a whole batch
is full, or when events have waited `patience_seconds` behind one commit.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from ingest.batches import Batch
from ingest.clock import Monotonic, NowUs
from ingest.errors import BatchRefused, Overloaded, StoreError, StoreUnavailable
from ingest.events import Event
from ingest.ids import IdGenerator
from ingest.metrics import Metrics
from ingest.store.base import Store

log = logging.getLogger("ingest.batcher")

Failures = Mapping[int, StoreError]
"""`id()` of an event object → why it could not be made durable."""


class Onward(Protocol):
    """Where committed batches go, in the order of their commits; see `ingest.dispatcher`."""

    def dispatch(self, batch: Batch) -> None: ...
    def lease_seconds(self) -> float: ...
    def take_settled(self) -> Sequence[int]: ...
    def give_back_settled(self, first_ids: Sequence[int]) -> None: ...


class BatcherLimits(msgspec.Struct, frozen=True):
    batch_events_max: int
    batch_bytes_max: int
    queue_events_max: int
    queue_bytes_max: int
    writers: int
    patience_seconds: float
    queue_timeout_seconds: float
    """Events that waited longer than this behind slow commits are answered 500 at once."""
    isolate_timeout_seconds: float
    """Time to find the rows that poison a batch; what is not committed by then is answered 500."""


class Group:
    """Events that wait for the same commit. `done` tells all of them: None, or who failed and why."""

    __slots__ = ("bytes", "done", "events", "help", "since")

    def __init__(self, done: "asyncio.Future[Failures | None]", since: float) -> None:
        self.events: list[Event] = []
        self.bytes = 0
        self.done = done
        self.since = since
        self.help: asyncio.TimerHandle | None = None


class Batcher:
    """Takes events one by one, commits them by the batch, passes batches on."""

    def __init__(
        self,
        store: Store,
        onward: Onward,
        limits: BatcherLimits,
        metrics: Metrics,
        now_us: NowUs,
        monotonic: Monotonic,
    ) -> None:
        self._store = store
        self._onward = onward
        self._limits = limits
        self._metrics = metrics
        self._now_us = now_us
        self._monotonic = monotonic
        self._ids: IdGenerator | None = None
        self._groups: deque[Group] = deque()
        self._queued_events = 0
        self._queued_bytes = 0
        self._idle: list[asyncio.Future[None]] = []
        self._writers: list[asyncio.Task[None]] = []
        self._busy = 0

    @property
    def queued_events(self) -> int:
        return self._queued_events

    def start(self) -> None:
        self._writers = [asyncio.create_task(self._write(), name=f"writer-{n}") for n in range(self._limits.writers)]

    def use_ids(self, ids: IdGenerator | None) -> None:
        """From now on events get ids of this generator; without one none are taken."""
        self._ids = ids

    def submit(self, event: Event) -> "asyncio.Future[Failures | None]":
        """Queue an event. The future is shared by its whole group: never cancel it.

        Its result is None once all is durable, else `Failures`. Raises `Overloaded` or, before the
        first id slot is there, `StoreUnavailable`.
        """
        limits = self._limits
        size = len(event.payload)
        if self._ids is None:
            raise StoreUnavailable
        if self._queued_events >= limits.queue_events_max or self._queued_bytes + size > limits.queue_bytes_max:
            raise Overloaded
        group = self._groups[-1] if self._groups else None
        if group is None or len(group.events) >= limits.batch_events_max or group.bytes + size > limits.batch_bytes_max:
            group = self._open_group()
        group.events.append(event)
        group.bytes += size
        self._queued_events += 1
        self._queued_bytes += size
        return group.done

    async def drain(self) -> None:
        """Return when nothing is queued or being committed; the caller bounds the wait."""
        while self._groups or self._busy:
            await asyncio.wait([group.done for group in self._groups] or [self._soon()])

    async def close(self) -> None:
        for writer in self._writers:
            writer.cancel()
        if self._writers:
            await asyncio.wait(self._writers)
        for group in self._groups:
            self._answer(group, dict.fromkeys(map(id, group.events), StoreUnavailable()))
        self._groups.clear()

    def _soon(self) -> "asyncio.Future[None]":
        return asyncio.ensure_future(asyncio.sleep(0.01))

    def _open_group(self) -> Group:
        loop = asyncio.get_running_loop()
        group = Group(loop.create_future(), self._monotonic())
        if self._groups or not self._busy:
            self._wake_writer()  # a full group waits, or nobody works
        else:
            group.help = loop.call_later(self._limits.patience_seconds, self._wake_writer)
        self._groups.append(group)
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
            if group.help:
                group.help.cancel()
            self._queued_events -= len(group.events)
            self._queued_bytes -= group.bytes
            self._busy += 1
            try:
                await self._commit_group(group)
            finally:
                self._busy -= 1

    async def _commit_group(self, group: Group) -> None:
        failures: dict[int, StoreError] = {}
        try:
            waited = self._monotonic() - group.since
            self._metrics.queue_seconds.observe(waited)
            if waited > self._limits.queue_timeout_seconds:
                raise StoreUnavailable("The database is too slow. The event was not acknowledged: send it again.")
            await self._commit(self._seal(group), failures)
        except StoreError as exc:
            _fail_rest(failures, group.events, exc)
        except asyncio.CancelledError:
            _fail_rest(failures, group.events, StoreUnavailable())
            raise
        except Exception:
            log.exception("commit failed unexpectedly", extra={"events": len(group.events)})
            _fail_rest(failures, group.events, StoreError())
        finally:
            self._answer(group, failures)

    def _seal(self, group: Group) -> Batch:
        if self._ids is None:
            raise StoreUnavailable
        return Batch(self._ids.take(len(group.events)), group.events, self._now_us())

    def _answer(self, group: Group, failures: Failures) -> None:
        if not group.done.done():
            self._metrics.accepted.inc(len(group.events) - len(failures))
            group.done.set_result(failures or None)

    async def _commit(self, batch: Batch, failures: dict[int, StoreError]) -> None:
        """Commit the batch; where the database refuses a row of it, all the others."""
        try:
            await self._commit_whole(batch)
        except BatchRefused as exc:
            if len(batch) == 1:
                failures[id(batch.events[0])] = exc
                return
            await self._isolate(batch, failures)

    async def _isolate(self, batch: Batch, failures: dict[int, StoreError]) -> None:
        """Halve the batch until the refused rows stand alone; each committed part is a batch of its own."""
        parts = _halves(batch)
        outcome: StoreError = StoreUnavailable("The batch held rows that the database refuses, and time ran out.")
        try:
            async with asyncio.timeout(self._limits.isolate_timeout_seconds):
                while parts:
                    part = parts[-1]
                    try:
                        await self._commit_whole(part)
                        parts.pop()
                    except BatchRefused as exc:
                        parts.pop()
                        if len(part) == 1:
                            failures[id(part.events[0])] = exc
                        else:
                            parts += _halves(part)
        except TimeoutError:
            pass
        except StoreError as exc:
            outcome = exc
        for part in parts:
            _fail_rest(failures, part.events, outcome)

    async def _commit_whole(self, batch: Batch) -> None:
        settled = self._onward.take_settled()
        started = self._monotonic()
        try:
            await self._store.commit(batch, lease_seconds=self._onward.lease_seconds(), settled=settled)
        except BaseException:
            self._onward.give_back_settled(settled)
            raise
        self._metrics.commit_seconds.observe(self._monotonic() - started)
        self._metrics.batch_events.observe(len(batch))
        self._metrics.stored.inc(len(batch))
        self._onward.dispatch(batch)


def _halves(batch: Batch) -> list[Batch]:
    """The second half and the first, which is taken off the end first."""
    middle = len(batch) // 2
    return [batch.part(middle, len(batch)), batch.part(0, middle)]


def _fail_rest(failures: dict[int, StoreError], events: Sequence[Event], error: StoreError) -> None:
    for event in events:
        failures.setdefault(id(event), error)


def failure_of(event: Event, failures: Failures | None) -> StoreError | None:
    """What became of the event in its group's outcome; None if it is durable."""
    return failures.get(id(event)) if failures else None

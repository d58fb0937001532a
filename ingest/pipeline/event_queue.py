"""The bounded queue of events that wait for a commit. Events that share a commit form a group."""

import asyncio
from collections import deque
from contextlib import suppress

import msgspec

from ingest.clock import Monotonic
from ingest.errors import Overloaded, StoreUnavailable
from ingest.events.event import Event
from ingest.pipeline.outcomes import Failures


class BatcherLimits(msgspec.Struct, frozen=True):
    batch_events_max: int
    batch_bytes_max: int
    queue_events_max: int
    queue_bytes_max: int
    queue_seconds_max: float
    """No group is added while the oldest has waited longer: an early refusal is better than a late answer."""
    writers: int
    patience_seconds: float
    """Another writer helps after events have waited this long behind one commit."""


class Group:
    """Events that wait for the same commit. The result of `done` is theirs: None, or the failures."""

    __slots__ = ("bytes", "bytes_max", "done", "events", "events_max", "help", "received", "requests", "since")

    def __init__(self, done: "asyncio.Future[Failures | None]", since: float, events_max: int, bytes_max: int) -> None:
        self.events_max = events_max
        self.bytes_max = bytes_max
        self.events: list[Event] = []
        self.received: list[float] = []
        """The time at which each event came."""
        self.bytes = 0
        self.requests = 0
        """Requests of a single event that this group answers."""
        self.done = done
        self.since = since
        self.help: asyncio.TimerHandle | None = None


class EventQueue:
    """Groups in the order in which writers take them. Only the newest one takes more events."""

    def __init__(self, limits: BatcherLimits, monotonic: Monotonic) -> None:
        self.is_open = False
        """The queue takes events."""
        self.busy = 0
        """Writers that commit a group. Each subtracts itself when it has finished."""
        self._limits = limits
        self._monotonic = monotonic
        self._groups: deque[Group] = deque()
        self._newest: Group | None = None
        self._idle: list[asyncio.Future[None]] = []

    @property
    def events(self) -> int:
        return sum(len(group.events) for group in self._groups)

    @property
    def _bytes(self) -> int:
        return sum(group.bytes for group in self._groups)

    def submit(self, event: Event, requests: int = 0) -> "asyncio.Future[Failures | None]":
        """Queue an event. Its whole group shares the future: never cancel it.

        The result is None once all events of the group are durable, else `Failures`. `requests` (0 or 1) counts as
        queued if the group has no failure. Raises `Overloaded`, and `StoreUnavailable` while the queue is not open.
        """
        size = len(event.payload)
        group = self._newest
        # The queue's limits are checked when a group is opened, and they limit that group.
        if group is None or len(group.events) >= group.events_max or group.bytes + size > group.bytes_max:
            group = self._open_group(size)
        group.events.append(event)
        group.received.append(self._monotonic())
        group.bytes += size
        group.requests += requests
        return group.done

    async def take(self) -> Group:
        """Wait for a group, and take it. The caller is `busy` from then on."""
        while True:
            while not self._groups:
                await self._wait()
            await asyncio.sleep(0)  # requests that are ready to run join this commit
            if self._groups:  # no other writer took it meanwhile
                break
        group = self._groups.popleft()
        if group is self._newest:
            self._newest = None
        if group.help:
            group.help.cancel()
        self.busy += 1
        return group

    async def drain(self) -> None:
        """Return when no group waits or is being committed. The caller bounds the wait."""
        while self._groups or self.busy:
            await asyncio.wait([group.done for group in self._groups] or [asyncio.ensure_future(asyncio.sleep(0.01))])

    def clear(self) -> list[Group]:
        groups = list(self._groups)
        self._groups.clear()
        self._newest = None
        return groups

    def _open_group(self, size: int) -> Group:
        """Open a group for an event of `size` bytes. An event larger than a batch's limit gets a group for itself."""
        events_left, bytes_left = self._room(size)
        loop, limits = asyncio.get_running_loop(), self._limits
        group = Group(
            loop.create_future(),
            self._monotonic(),
            min(limits.batch_events_max, events_left),
            min(limits.batch_bytes_max, bytes_left),
        )
        if self._groups or not self.busy:
            self._wake_writer()  # a full group waits, or no writer works
        else:
            group.help = loop.call_later(limits.patience_seconds, self._wake_writer)
        self._groups.append(group)
        self._newest = group
        return group

    def _room(self, size: int) -> tuple[int, int]:
        """The events and bytes that the queue may still take."""
        if not self.is_open:
            raise StoreUnavailable
        limits = self._limits
        events_left = limits.queue_events_max - self.events
        bytes_left = limits.queue_bytes_max - self._bytes
        late = self._groups and self._monotonic() - self._groups[0].since > limits.queue_seconds_max
        if events_left < 1 or bytes_left < size or late:
            raise Overloaded
        return events_left, bytes_left

    async def _wait(self) -> None:
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(idle)
        try:
            await idle
        finally:
            with suppress(ValueError):
                self._idle.remove(idle)

    def _wake_writer(self) -> None:
        """The writer runs after this round of the loop, so events that arrive in the same round share the commit."""
        if self._idle:
            self._idle.pop().set_result(None)

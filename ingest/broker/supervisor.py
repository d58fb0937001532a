"""Keeps a publisher connected: connects, waits for a loss, logs it once, and connects again."""

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from ingest.broker.base import Held, not_held
from ingest.errors import BrokerUnavailable
from ingest.tasks import end, raise_if_cancelled
from ingest.telemetry.connection_metrics import NO_OBSERVER, ConnectionObserver

log = logging.getLogger("ingest.publisher")

BACKOFF_SECONDS = 0.2
STEADY_SECONDS = 5.0
"""A connection that is lost sooner counts as another failure, so the pauses keep growing."""
HELD_POLL_SECONDS = 0.05
"""The supervisor also does not connect, and so declares nothing, while publishing is held (see `Held`)."""


class Connection(ABC):
    """One connection to a broker, from its opening until it is dropped. It is never opened again."""

    def __init__(self) -> None:
        self._lost = asyncio.Event()
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the connection is unusable; None while it works."""
        return self._problem

    def drop(self, reason: str) -> None:
        """Make the connection unusable. The first reason counts."""
        if self._problem is None:
            self._problem = reason
            self._lost.set()

    async def until_lost(self) -> None:
        await self._lost.wait()

    @asynccontextmanager
    async def confirming(self, timeout_seconds: float) -> AsyncIterator[None]:
        """Limit the time for the broker's confirms. Past it, drop the connection and raise `BrokerUnavailable`.

        A blocked connection (memory or disk alarm) looks like a dead one. The batches in flight on it fail, and are
        published again from the outbox.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                yield
        except TimeoutError as exc:
            reason = f"RabbitMQ did not confirm within {timeout_seconds:g} s."
            self.drop(reason)
            raise BrokerUnavailable(reason) from exc

    async def blocked(self) -> bool:
        """See `ingest.broker.base.Publisher`. RabbitMQ does not report it to stream connections."""
        return False

    @abstractmethod
    async def close(self) -> None:
        """Close the connection within a limited time, because a frozen broker never answers. Does not raise."""


C = TypeVar("C", bound=Connection)


class Supervisor(Generic[C]):
    """Holds the live connection that `connect` makes. `connect` must limit its own time."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[C]],
        reconnect_seconds_max: float,
        observer: ConnectionObserver = NO_OBSERVER,
        held: Held = not_held,
    ) -> None:
        self._connect = connect
        self._held_by = held
        self._observer = observer
        self._reconnect_seconds_max = reconnect_seconds_max
        self._connection: C | None = None
        self._problem = "Not connected to RabbitMQ yet."
        self._failure_logged = False
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """Why there is no usable connection; None if there is one."""
        held = self._held_by()
        return held or (self._problem if self._connection is None else self._connection.problem)

    def connection(self) -> C:
        """Return the live connection. Raises `BrokerUnavailable` if there is none."""
        connection, problem = self._connection, self.problem
        if connection is None or problem is not None:
            raise BrokerUnavailable(problem)
        return connection

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="broker-supervisor")

    async def close(self) -> None:
        """Close the connection, and do not connect again. Safe to call twice."""
        task, self._task = self._task, None
        if task:
            await end([task])
            self._problem = "The connection to RabbitMQ is closed."

    async def _run(self) -> None:
        """Connect again and again, with exponential backoff and jitter until a connection is steady."""
        failures = 0
        while True:
            while self._held_by():  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(HELD_POLL_SECONDS)
            steady = False
            try:
                connection = await self._connected()
                steady = connection is not None and await self._held(connection)
            except (Exception, asyncio.CancelledError) as exc:
                raise_if_cancelled(exc)
                log.exception("the connection to RabbitMQ failed unexpectedly; it will be made again")
            failures = 0 if steady else min(failures + 1, 16)
            limit = min(self._reconnect_seconds_max, BACKOFF_SECONDS * 2**failures)
            await asyncio.sleep(random.uniform(limit / 4, limit))  # noqa: S311 - jitter, not a secret

    async def _connected(self) -> C | None:
        try:
            connection = await self._connect()
        except (Exception, asyncio.CancelledError) as exc:
            raise_if_cancelled(exc)
            ours = isinstance(exc, BrokerUnavailable)  # RabbitMQ is reachable, but not as required
            self._problem = str(exc) if ours else f"RabbitMQ is not reachable: {text_of(exc)}"
            if not self._failure_logged:
                log.warning("RabbitMQ connection failed", extra={"reason": self._problem})
            self._failure_logged = True
            return None
        self._failure_logged = False
        log.info("RabbitMQ connected")
        self._observer.connected()
        return connection

    async def _held(self, connection: C) -> bool:
        """Hold the connection until it ends. Return True if that took at least `STEADY_SECONDS`."""
        clock = asyncio.get_running_loop().time
        opened = clock()
        self._connection = connection
        try:
            await connection.until_lost()
            log.warning("RabbitMQ connection lost", extra={"reason": connection.problem})
        finally:
            self._problem = connection.problem or "Not connected to RabbitMQ."
            self._connection = None
            await connection.close()
        return clock() - opened >= STEADY_SECONDS


class SupervisedPublisher(Generic[C]):
    """The part of `ingest.broker.base.Publisher` that both publishers to RabbitMQ share."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[C]],
        reconnect_seconds_max: float,
        observer: ConnectionObserver,
        held: Held = not_held,
    ) -> None:
        self._supervisor = Supervisor(connect, reconnect_seconds_max, observer, held)

    @property
    def ready(self) -> bool:
        return self._supervisor.problem is None

    @property
    def problem(self) -> str | None:
        return self._supervisor.problem

    async def blocked(self) -> bool:
        try:
            return await self._supervisor.connection().blocked()
        except BrokerUnavailable:
            return False  # the broker is away, which `problem` shows

    async def start(self) -> None:
        self._supervisor.start()

    async def close(self) -> None:
        await self._supervisor.close()


def text_of(exc: BaseException) -> str:
    """Return a short text. It has no password, because no driver here quotes the URL's password."""
    return f"{type(exc).__name__}: {str(exc)[:160]}".removesuffix(": ")

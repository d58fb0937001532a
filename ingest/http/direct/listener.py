"""Accepts the connections of one worker. All workers accept from one socket, which the supervisor keeps open.

So no connection is lost when a worker is killed or replaced: what it has not accepted, another worker accepts. In each
turn of its loop a worker accepts one connection, and one more for every `OPEN_FOR_ONE_MORE` that it has. So a busy
worker takes fewer of a few connections, and thousands of new ones do not wait for as many turns.
"""

import asyncio
import errno
import logging
import socket
import time

import msgspec

from ingest.http.direct import limits
from ingest.http.direct.connection import Connection
from ingest.http.direct.events import DirectEvents
from ingest.http.direct.shared import Shared
from ingest.http.rsgi import Handler
from ingest.telemetry.metrics import Metrics
from ingest.ticks import pause

log = logging.getLogger("ingest.listener")

STOP_POLL_SECONDS = 0.02
OPEN_FOR_ONE_MORE = 8
OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class ListenerLimits(msgspec.Struct, frozen=True):
    connections_max: int
    body_timeout_seconds: float
    fast: bool
    """Events take the fast path."""


class DirectListener:
    """Runs from `start` to `stop`, on the worker's event loop."""

    def __init__(self, application: Handler, events: DirectEvents, bounds: ListenerLimits, metrics: Metrics) -> None:
        self.connections: set[Connection] = set()
        self.shared = Shared(application, events, bounds.body_timeout_seconds, fast=bounds.fast)
        self._connections_max = bounds.connections_max
        self._metrics = metrics
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop
        self._accepting = False
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, listening: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """Accept connections of this socket, which other workers share. The loop need not run yet."""
        self._loop = loop
        listening.setblocking(False)
        self._socket = listening
        self.shared.queued.renew(int(time.time()))
        self._accept()
        log.info("accepting connections", extra={"port": self.port})

    @property
    def port(self) -> int:
        assert self._socket, "it has started"  # noqa: S101 - a programming error
        return int(self._socket.getsockname()[1])

    def drain(self) -> None:
        self.shared.draining = True

    async def stop(self, seconds: float) -> None:
        """Accept no more, and return when all requests are answered, at most this much later."""
        self.drain()
        self._accept(False)
        if self._socket:
            self._socket.close()  # the supervisor's and the other workers' stay open
            self._socket = None
        clock = asyncio.get_running_loop().time  # a worker may stop before it starts
        deadline = clock() + seconds
        await asyncio.sleep(STOP_POLL_SECONDS)  # requests that have arrived are read, and are answered
        while True:
            for connection in list(self.connections):
                connection.close_if_idle()
            if not self.connections or clock() >= deadline:
                break
            await asyncio.sleep(STOP_POLL_SECONDS)

    async def sweep(self) -> None:
        """End what is late, and count. Runs until it is cancelled."""
        while True:
            self.shared.queued.renew(int(time.time()))
            self._count()
            now = asyncio.get_running_loop().time()
            for connection in list(self.connections):
                if now > connection.deadline or now > connection.send_deadline:
                    connection.expire(now)
            await pause(limits.SWEEP_SECONDS)

    def closed(self, connection: Connection) -> None:
        """A connection ended, so there is room for another."""
        self.connections.discard(connection)
        self._resume_accepting()

    def _resume_accepting(self) -> None:
        if not self._accepting and self._socket:
            self._accept()

    def _accept(self, accept: bool = True) -> None:
        """Begin to accept connections, or pause."""
        if self._socket and accept is not self._accepting:
            self._accepting = accept
            if accept:
                self._loop.add_reader(self._socket, self._accept_some)
            else:
                self._loop.remove_reader(self._socket)

    def _accept_some(self) -> None:
        for _ in range(1 + len(self.connections) // OPEN_FOR_ONE_MORE):
            if not (self._accepting and self._accept_one()):
                return

    def _accept_one(self) -> bool:
        """Return True if there was a connection to accept."""
        if self._socket is None:
            return False
        try:
            accepted, _ = self._socket.accept()
        except OSError as exc:
            if exc.errno in OUT_OF_RESOURCES:
                log.error("no connection can be accepted", extra={"reason": exc.strerror, "kept": "they wait"})
                self._accept(False)
                self._loop.call_later(limits.ACCEPT_PAUSE_SECONDS, self._resume_accepting)
            return False  # otherwise another worker has taken it, or the client is gone
        accepted.setblocking(False)
        connection = Connection(self.shared, self._loop, self.closed)
        self.connections.add(connection)
        if len(self.connections) >= self._connections_max:
            self._accept(False)
        task = self._loop.create_task(self._open(connection, accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _open(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError:
            accepted.close()
            connection.connection_lost(None)

    def _count(self) -> None:
        metrics = self._metrics
        metrics.http_connections.set(len(self.connections))
        shared = self.shared
        if shared.received_bytes or shared.malformed:
            metrics.http_requests.inc(shared.requests)
            metrics.http_received_bytes.inc(shared.received_bytes)
            metrics.http_malformed.inc(shared.malformed)
            shared.requests = shared.received_bytes = shared.malformed = 0

"""The generator of an open loop: requests are due at a given rate, independent of earlier answers.

The latency of a request counts from its due time, not from the send. So a stall of the service counts for every
request that was due during the stall (no coordinated omission). A request that cannot be sent is a failure; the
generator skips no request.

Debian has no suitable generator with a constant rate: `h2load` measures from the actual send, and sends one body.
Both `httperf` and `tsung` report means. Tools like `wrk2`, `vegeta` and `oha` are not packaged. Each request of
`locust` costs 500 µs of CPU.

The generator does not use asyncio, as the timers of asyncio and uvloop tick in milliseconds. That is as long as an
answer takes. `select` ticks in microseconds, so it waits for the epoll object that holds the connections.
"""

import gc
import math
import select
import socket
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context

from bench.openloop.http import Requests, status_of
from bench.openloop.plan import Plan, Recording, schedule

START_SECONDS = 0.1
"""Pause between the last connect and the start of the schedule."""
CONNECT_SECONDS_MAX = 1.0
ANSWERS_AT_ONCE = 16
"""Answers that are read before the next look at the clock."""
RECEIVED_BYTES_MAX = 65_536
IDLE = -1


class Generator:
    """Runs plans in a separate process, so that the rest of the harness does not delay them."""

    def __init__(self, process: ProcessPoolExecutor) -> None:
        self._process = process

    def start(self, plan: Plan) -> "Future[Recording]":
        return self._process.submit(run, plan)


@contextmanager
def generator() -> Iterator[Generator]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield Generator(process)


def run(plan: Plan) -> Recording:
    """Load the service on `plan.port` of this machine. Raises OSError if no server listens there."""
    gc.disable()  # a collection would delay requests
    loop = OpenLoop(plan)
    try:
        loop.connect()
        before = time.process_time()
        loop.run()
        return loop.recording(time.process_time() - before)
    finally:
        loop.close()
        gc.enable()


class Connection:
    __slots__ = ("number", "received", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.number = IDLE  # or the number of the request that waits for its answer
        self.received = b""


class OpenLoop:
    """One run: waits, reads answers and sends due requests, until all are answered or the time is over."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = Requests(plan.token)
        self._due = schedule(plan)
        self._latency = array("d", [math.nan]) * len(self._due)
        self._lateness = array("d")
        self._failures: Counter[str] = Counter()
        self._next = 0
        self._out = 0
        self._pending: deque[int] = deque()
        self._idle: deque[Connection] = deque()
        self._connections: dict[int, Connection] = {}
        self._epoll = select.epoll()
        self._started = 0.0
        self._ends = plan.seconds + plan.answer_seconds_max

    def connect(self) -> None:
        for _ in range(self._plan.connections_max):
            self._connect()

    def run(self) -> None:
        self._started = time.monotonic() + START_SECONDS
        while self._next < len(self._due) or (self._out and self._now() < self._ends):
            self._wait()
            self._read()
            self._send_pending()
            self._begin_due()
        self._failures["unanswered"] += self._out
        self._failures["unsent"] += len(self._pending)

    def recording(self, cpu_seconds: float) -> Recording:
        return Recording(self._started, self._due, self._latency, self._lateness, dict(+self._failures), cpu_seconds)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()

    def _now(self) -> float:
        return time.monotonic() - self._started

    def _wait(self) -> None:
        """Wait until an answer has arrived or a request is due."""
        until = self._due[self._next] if self._next < len(self._due) else self._ends
        seconds = until - self._now()
        if seconds > 0:
            select.select([self._epoll], [], [], seconds)

    def _begin_due(self) -> None:
        while self._next < len(self._due) and (late := self._now() - self._due[self._next]) >= 0:
            self._lateness.append(late)
            if self._connections and len(self._pending) < self._plan.pending_max:
                self._pending.append(self._next)
            else:
                self._failures["unsent"] += 1
            self._next += 1
            self._send_pending()

    def _send_pending(self) -> None:
        while self._pending and self._idle:
            self._send(self._idle.popleft(), self._pending.popleft())

    def _send(self, connection: Connection, number: int) -> None:
        connection.number = number
        self._out += 1
        request = self._requests[number]
        try:
            sent = connection.socket.send(request)
        except OSError:
            sent = 0
        if sent < len(request):  # the send buffer was empty, so the connection is lost
            self._lose(connection)

    def _read(self) -> None:
        for descriptor, _ in self._epoll.poll(0, ANSWERS_AT_ONCE):
            connection = self._connections[descriptor]
            try:
                self._receive(connection)
            except (OSError, ValueError):
                self._lose(connection)

    def _receive(self, connection: Connection) -> None:
        """Read from the connection. Raises OSError or ValueError if it can no longer be used."""
        data = connection.socket.recv(RECEIVED_BYTES_MAX)
        if not data:
            raise ConnectionResetError
        connection.received += data
        status = status_of(connection.received)
        if status is not None:
            self._answered(connection, status)

    def _answered(self, connection: Connection, status: int) -> None:
        number = connection.number
        if status == 200:
            self._latency[number] = self._now() - self._due[number]
        else:
            self._failures[str(status)] += 1
        self._out -= 1
        connection.number = IDLE
        connection.received = b""
        self._idle.append(connection)

    def _connect(self) -> None:
        connection = Connection(self._plan.port)
        descriptor = connection.socket.fileno()
        self._connections[descriptor] = connection
        self._epoll.register(descriptor, select.EPOLLIN)
        self._idle.append(connection)

    def _lose(self, connection: Connection) -> None:
        """Count the connection's request as failed, and open a new connection if possible."""
        if connection.number != IDLE:
            self._failures["lost"] += 1
            self._out -= 1
        with suppress(ValueError):
            self._idle.remove(connection)
        self._connections.pop(connection.socket.fileno())
        connection.socket.close()  # this also removes it from the epoll object
        with suppress(OSError):
            self._connect()

"""The generator of an open loop: requests are due at a given rate, whatever became of those before.

Each is timed from when it was due, not from when it could be sent, so a stall of the service counts for every request
that came due in it (no coordinated omission). What cannot be sent is a failure; nothing is skipped.

Why our own: Debian has no constant-rate generator that fits. h2load times from the actual send and sends one body;
httperf and tsung report means; wrk2, vegeta and oha are not packaged; locust costs 500 µs of CPU a request.
Why no asyncio: its timers over epoll, and uvloop's, tick in milliseconds, which is as long as an answer takes.
`select` ticks in microseconds, so it does the waiting: for the epoll object that holds the connections.
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
"""From the last connection made to the beginning of the schedule."""
CONNECT_SECONDS_MAX = 1.0
ANSWERS_AT_ONCE = 16
"""Answers read before the clock is looked at again."""
RECEIVED_BYTES_MAX = 65_536
NOBODY = -1


class Generator:
    """Runs plans in a process of its own, so that the rest of the harness does not delay it."""

    def __init__(self, process: ProcessPoolExecutor) -> None:
        self._process = process

    def start(self, plan: Plan) -> "Future[Recording]":
        return self._process.submit(run, plan)


@contextmanager
def generator() -> Iterator[Generator]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield Generator(process)


def run(plan: Plan) -> Recording:
    """Load the service on `plan.port` of this machine. Raises OSError if nobody listens there."""
    gc.disable()  # a collection would make requests late
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
        self.number = NOBODY  # the request that is out
        self.received = b""


class OpenLoop:
    """One run: waits, reads answers, sends what is due, until all is answered or time is up."""

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
        """Until an answer has come or a request is due."""
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
        if sent < len(request):  # nothing else is out, so the buffer had room: the connection is gone
            self._lose(connection)

    def _read(self) -> None:
        for descriptor, _ in self._epoll.poll(0, ANSWERS_AT_ONCE):
            connection = self._connections[descriptor]
            try:
                self._receive(connection)
            except (OSError, ValueError):
                self._lose(connection)

    def _receive(self, connection: Connection) -> None:
        """Raises OSError or ValueError if the connection is of no use any more."""
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
        connection.number = NOBODY
        connection.received = b""
        self._idle.append(connection)

    def _connect(self) -> None:
        connection = Connection(self._plan.port)
        descriptor = connection.socket.fileno()
        self._connections[descriptor] = connection
        self._epoll.register(descriptor, select.EPOLLIN)
        self._idle.append(connection)

    def _lose(self, connection: Connection) -> None:
        """What was out on it has failed; another takes its place, if one can be had."""
        if connection.number != NOBODY:
            self._failures["lost"] += 1
            self._out -= 1
        with suppress(ValueError):
            self._idle.remove(connection)
        self._connections.pop(connection.socket.fileno())
        connection.socket.close()  # which also takes it out of the epoll object
        with suppress(OSError):
            self._connect()

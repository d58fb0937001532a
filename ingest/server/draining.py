"""After SIGTERM a worker accepts events for a while, and asks its clients to leave.

`/readyz` says draining, so a balancer sends no new client. Each HTTP/1.1 answer carries `Connection: close`, so no
client keeps a connection to a listener that closes. HTTP/2 has GOAWAY for this.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from types import FrameType

from ingest.http.rsgi import Handler, HttpProtocol, Scope, Transport

log = logging.getLogger("ingest.draining")

CLOSE = ("connection", "close")


class Sigterm:
    """Handles SIGTERM instead of Granian: it calls `drain`, and `seconds` later it stops the worker.

    A second SIGTERM stops the worker at once. Granian also stops a worker on SIGINT, so this class sends SIGINT. Before
    `serving` a signal is only recorded: Granian's server misses a signal before its start, and uvloop misses one while
    its loop does not run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, drain: Callable[[], None]) -> None:
        self.received = False
        self._loop = loop
        self._seconds = seconds
        self._drain = drain
        self._serving = False
        self._draining = False
        loop.add_signal_handler(signal.SIGTERM, self._obey)
        signal.signal(signal.SIGTERM, self._record)  # the loop's own handler, which uses a file descriptor, stays

    def serving(self) -> None:
        """Obey signals from now on, and a recorded one. The loop runs callbacks only after the server has started."""
        self._serving = True
        if self.received:
            self._loop.call_soon(self._obey)

    def _record(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True

    def _obey(self) -> None:
        self.received = True
        if not self._serving:
            return
        if not self._draining:
            log.info("draining", extra={"seconds": self._seconds})
            self._drain()
        self._loop.call_later(0.0 if self._draining else self._seconds, os.kill, os.getpid(), signal.SIGINT)
        self._draining = True


def closing(handler: Handler) -> Handler:
    """Return a handler that closes each connection with its response."""

    def closes(scope: Scope, protocol: HttpProtocol) -> Awaitable[None]:
        return handler(scope, protocol if scope.http_version == "2" else _Closing(protocol))

    return closes


class _Closing:
    """An `HttpProtocol` whose responses close the connection."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol

    def __call__(self) -> Awaitable[bytes]:
        return self._protocol()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._protocol)

    def client_disconnect(self) -> Awaitable[None]:
        return self._protocol.client_disconnect()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._protocol.response_bytes(status, _with_close(headers), body)

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Transport:
        return self._protocol.response_stream(status, _with_close(headers))


def _with_close(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return headers if CLOSE in headers else [*headers, CLOSE]

"""Between being told to stop and stopping: the worker still takes events, and asks every client to go elsewhere.

`/readyz` says draining, so that a balancer sends nobody new; every HTTP/1.1 answer carries `Connection: close`, so that
no client has a connection left to send on when the listener closes. HTTP/2 has its own word for that (GOAWAY).
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
    """Takes SIGTERM away from Granian: `drain` is called, and `seconds` later the worker stops.

    A second one stops it at once. Granian stops a worker on SIGINT, too, and that is how it is passed on. Before
    `serving` it is only noted: Granian's server does not see a signal that came before its own start, and uvloop
    none that comes while it does not run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, drain: Callable[[], None]) -> None:
        self.received = False
        self._loop = loop
        self._seconds = seconds
        self._drain = drain
        self._serving = False
        self._draining = False
        loop.add_signal_handler(signal.SIGTERM, self._obey)
        signal.signal(signal.SIGTERM, self._note)  # the loop learns of signals by another way, which is left to it

    def serving(self) -> None:
        """From now on do as it says, and as it said: the loop runs again only when the server is there."""
        self._serving = True
        if self.received:
            self._loop.call_soon(self._obey)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
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
    """The lane, closing each connection with its answer."""

    def closes(scope: Scope, protocol: HttpProtocol) -> Awaitable[None]:
        return handler(scope, protocol if scope.http_version == "2" else _Closing(protocol))

    return closes


class _Closing:
    """An `HttpProtocol` whose answers close the connection."""

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

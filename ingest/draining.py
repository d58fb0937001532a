"""Between being told to stop and stopping: the worker still takes events, and asks every client to go elsewhere.

`/readyz` says draining, so that a balancer sends nobody new; every HTTP/1.1 answer carries `Connection: close`, so that
no client has a connection left to send on when the listener closes. HTTP/2 has its own word for that (GOAWAY).
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

from ingest.rsgi import HttpProtocol, Lane, Scope, Transport

log = logging.getLogger("ingest.draining")

CLOSE = ("connection", "close")


class Sigterm:
    """Takes SIGTERM away from Granian: `drain` is called, and `seconds` later the worker stops.

    A second one stops it at once. Granian stops a worker on SIGINT, too, and that is how it is passed on. Before
    `serving` it is only noted: Granian's server does not see a signal that came before its own start.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, drain: Callable[[], None]) -> None:
        self.received = False
        self._loop = loop
        self._seconds = seconds
        self._drain = drain
        self._serving = False
        loop.add_signal_handler(signal.SIGTERM, self._receive)

    def serving(self) -> None:
        """From now on do as it says."""
        self._serving = True

    def _receive(self) -> None:
        first, self.received = not self.received, True
        if not self._serving:
            return
        if first:
            log.info("draining", extra={"seconds": self._seconds})
            self._drain()
        self._loop.call_later(self._seconds if first else 0.0, os.kill, os.getpid(), signal.SIGINT)


def closing(lane: Lane) -> Lane:
    """The lane, closing each connection with its answer."""

    def closes(scope: Scope, protocol: HttpProtocol) -> Awaitable[None]:
        return lane(scope, protocol if scope.http_version == "2" else _Closing(protocol))

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

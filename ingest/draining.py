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


def delay_sigterm(loop: asyncio.AbstractEventLoop, seconds: float, drain: Callable[[], None]) -> None:
    """On SIGTERM call `drain`, and stop `seconds` later; a second one, and any SIGINT, stops at once.

    Granian stops a worker on either signal: this takes SIGTERM away from it and passes it on as a SIGINT.
    """

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def begin() -> None:
        loop.add_signal_handler(signal.SIGTERM, stop)
        log.info("draining", extra={"seconds": seconds})
        drain()
        loop.call_later(seconds, stop)

    loop.add_signal_handler(signal.SIGTERM, begin)


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

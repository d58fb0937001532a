"""One client connection: its requests, its flow of bytes, and its deadlines."""

import asyncio
from collections.abc import Callable
from functools import cached_property
from math import inf
from typing import cast

from ingest.http.direct import limits
from ingest.http.direct.inflow import Inflow
from ingest.http.direct.reader import RequestReader
from ingest.http.direct.request import Request
from ingest.http.direct.responder import Responder
from ingest.http.direct.shared import Shared


class Connection(asyncio.Protocol):
    """The transport calls it, then the parser, then the handlers through `Request`."""

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop, closed: Callable[["Connection"], None]) -> None:
        """`closed` is called once the connection has ended."""
        self.responses = Responder(shared, self.write, self.answered)
        self.lost = False
        self.deadline = inf
        """Time of the loop at which `expire` is due."""
        self._young_until = inf
        self.send_deadline = inf
        self._shared = shared
        self._closed = closed
        self._loop = loop
        self._reader = RequestReader(self, shared)
        self._unanswered = self.responses.unanswered
        self._transport: asyncio.Transport | None = None
        self.inflow = Inflow(loop, self._reader.parser.feed, self._is_full)
        self._discarded_bytes = 0
        self._half_closed = False
        self._writable: asyncio.Future[None] | None = None
        """Set while the client does not take what was written."""

    @property
    def ends(self) -> bool:
        """No further request is read. The connection closes after the last response."""
        return self.inflow.ended

    def time(self) -> float:
        return self._loop.time()

    # The transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.inflow.open(self._transport)
        self._transport.set_write_buffer_limits(high=limits.UNSENT_BYTES_MAX)
        now = self._loop.time()
        self.deadline, self._young_until = now + limits.IDLE_SECONDS, now + limits.YOUNG_SECONDS

    def data_received(self, data: bytes) -> None:
        self._shared.received_bytes += len(data)
        if self.inflow.ended:  # the rest of a refused request, or what follows the last one
            self._discarded_bytes += len(data)
            if self._discarded_bytes > limits.DISCARD_BYTES_MAX:
                self.abort()
        else:
            self._reader.read(data)

    def eof_received(self) -> bool:
        """Return True to keep the connection for the responses that the client still waits for."""
        self._half_closed = True
        self._reader.lose_body()
        for request in self._unanswered:
            request.lose()
        return bool(self._unanswered)

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True
        self._transport = None
        self._reader.receiving = None
        self.inflow.lose()
        self.resume_writing()
        self._forget_unanswered()
        self._closed(self)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()
        self.send_deadline = self._loop.time() + limits.SEND_SECONDS
        self.inflow.regulate()

    def resume_writing(self) -> None:
        if self._writable:
            self._writable.set_result(None)
            self._writable = None
        self.send_deadline = inf
        self.inflow.regulate()

    # Responses

    def write(self, data: bytes) -> None:
        """Send bytes. Those for a lost client are dropped."""
        if self._transport:
            self._transport.write(data)

    async def writable(self) -> None:
        """Return when the client takes more."""
        if self._writable:
            await asyncio.shield(self._writable)

    def answered(self, request: Request, close: bool) -> None:
        """The response of a request is written. Close the connection if `close` says so."""
        if close or (self._half_closed and not self._unanswered):
            self.end(unread=not request.complete)
            return
        self.mark_idle()
        if self.inflow.paused:
            self.inflow.regulate()

    def close_if_idle(self) -> None:
        """Close the connection unless a request is under way, or may be because the client has just come."""
        is_young = self._loop.time() < self._young_until
        if not (self.ends or self._unanswered or self._reader.parser.in_head or is_young):
            self.end(unread=False)

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    def mark_idle(self) -> None:
        if not self._unanswered and self._reader.is_between:
            self.deadline = self._loop.time() + limits.IDLE_SECONDS

    def end(self, *, unread: bool) -> None:
        """Close the connection when all is written. If `unread` input may come, discard it for a while first."""
        self.inflow.end()
        self._forget_unanswered()
        transport = self._transport
        if transport is None:
            return
        if unread and not self._half_closed:
            self.inflow.pause(False)
            transport.write_eof()
            self.deadline = self._loop.time() + limits.LINGER_SECONDS
        else:
            transport.close()
            self.deadline = self._loop.time() + limits.SEND_SECONDS

    def _forget_unanswered(self) -> None:
        unanswered = list(self._unanswered)
        self._unanswered.clear()
        for request in unanswered:
            request.lose()
            if request.stream:
                request.stream.wake()

    # Flow and time

    def regulate(self) -> None:
        """A handler has taken bytes of the body."""
        self.inflow.regulate()

    def _is_full(self) -> bool:
        """Return True if the client must wait: it reads too slowly, or has enough requests or bytes here."""
        receiving = self._reader.receiving
        return (
            self._writable is not None
            or len(self._unanswered) >= limits.PIPELINED_MAX
            or (receiving is not None and receiving.waiting_bytes > limits.BODY_BUFFER_BYTES)
        )

    def expire(self, now: float) -> None:
        """Act on a deadline that has passed."""
        if now > self.send_deadline or (self.ends and not self._unanswered):
            self.abort()
        elif self._reader.is_between:
            self.end(unread=False)
        else:
            self._reader.expire(now)

    # Addresses

    @cached_property
    def client_address(self) -> str:
        return self._address("peername")

    @property
    def local_address(self) -> str:
        return self._address("sockname")

    def _address(self, which: str) -> str:
        address = self._transport.get_extra_info(which) if self._transport else None
        if not address:
            return "unknown:0"
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

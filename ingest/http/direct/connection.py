"""One client connection: its requests, its flow of bytes, and its deadlines."""

import asyncio
import logging
from collections.abc import Callable
from math import inf
from typing import cast

from ingest.http.direct import limits
from ingest.http.direct.head import Head, RequestHeaders
from ingest.http.direct.inflow import Inflow
from ingest.http.direct.parser import RequestParser
from ingest.http.direct.request import Request
from ingest.http.direct.responder import Responder
from ingest.http.direct.shared import Shared
from ingest.http.responses import Response

log = logging.getLogger("ingest.listener")


class Connection(asyncio.Protocol):
    """The transport calls it, then the parser, then the handlers through `Request`."""

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop, closed: Callable[["Connection"], None]) -> None:
        """`closed` is called once the connection has ended."""
        self.responses = Responder(shared, self.write, self.answered)
        self.receiving: Request | None = None
        """The request whose body is being received."""
        self.lost = False
        self.deadline = inf
        """Time of the loop at which `expire` is due."""
        self.send_deadline = inf
        self._shared = shared
        self._closed = closed
        self._loop = loop
        self._parser = RequestParser(self)
        self._unanswered = self.responses.unanswered
        self._transport: asyncio.Transport | None = None
        self._inflow = Inflow(loop, self._parser.feed, self._is_full)
        self._unknown: bytes | None = None
        """Bytes that begin with a head that is not known yet, while the parser reads it."""
        self._discarded_bytes = 0
        self._half_closed = False
        self._writable: asyncio.Future[None] | None = None
        """Set while the client does not take what was written."""

    @property
    def ends(self) -> bool:
        """No further request is read. The connection closes after the last response."""
        return self._inflow.ended

    # The transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._inflow.open(self._transport)
        self._transport.set_write_buffer_limits(high=limits.UNSENT_BYTES_MAX)
        self.deadline = self._loop.time() + limits.IDLE_SECONDS

    def data_received(self, data: bytes) -> None:
        self._shared.received_bytes += len(data)
        if self.ends:  # the rest of a refused request, or what follows the last one
            self._discarded_bytes += len(data)
            if self._discarded_bytes > limits.DISCARD_BYTES_MAX:
                self.abort()
        elif not self._receive_known(data):
            self._inflow.receive(data)
            self._unknown = None

    def eof_received(self) -> bool:
        """Return True to keep the connection for the responses that the client still waits for."""
        self._half_closed = True
        if self.receiving:
            self._lose_body(self.receiving)
        for request in self._unanswered:
            request.lose()
        return bool(self._unanswered)

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True
        self._transport = None
        self.receiving = None
        self._inflow.lose()
        self.resume_writing()
        self._forget_unanswered()
        self._closed(self)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()
        self.send_deadline = self._loop.time() + limits.SEND_SECONDS
        self._inflow.regulate()

    def resume_writing(self) -> None:
        if self._writable:
            self._writable.set_result(None)
            self._writable = None
        self.send_deadline = inf
        self._inflow.regulate()

    def _receive_known(self, data: bytes) -> bool:
        """Handle a whole request with a known head. Return False if the parser must read the bytes."""
        if self.receiving or self._parser.in_head or self._inflow.waits or len(data) > limits.SLICE_BYTES:
            return False
        if len(self._unanswered) >= limits.PIPELINED_MAX:
            return False
        found = self._shared.known_heads.find(data)
        if not found:
            self._unknown = data
            return False
        head, body = found
        request = Request(self, *head)
        request.complete = True
        self._shared.requests += 1
        self._unanswered.append(request)
        self.deadline = inf
        try:
            self._shared.events.take_whole(request, body)
        except Exception:
            log.exception("a connection failed")
            self.abort()
        return True

    # The parser's callbacks

    def begin_head(self) -> None:
        self.deadline = self._loop.time() + limits.HEAD_SECONDS

    def receive_head(self, head: Head, refusal: tuple[int, str] | None) -> None:
        """Handle a request. With a `refusal` answer its status and message instead, and end."""
        request = Request(self, *head)
        self._inflow.heads += 1
        self._shared.requests += 1
        self._unanswered.append(request)
        if refusal:
            self._refuse(request, *refusal)
            return
        self.receiving = request
        expected = request.headers.get("expect")
        request.waits_for_continue = (
            expected is not None and expected.lower() == "100-continue" and request.http_version == "1.1"
        )
        self.deadline = self._loop.time() + self._shared.body_timeout_seconds
        is_event = self._shared.begin(request)
        if self._unknown and is_event:
            self._shared.known_heads.learn(self._unknown, head, accepted=request.admitted is not None)
        self._unknown = None

    def receive_part(self, part: bytes) -> None:
        request = self.receiving
        if request is None:
            return
        request.received_bytes += len(part)
        request.waits_for_continue = False
        if request.admitted:
            self._shared.events.receive(request, part)
        elif request.response is None and request in self._unanswered:
            request.body.add(part)
            if request.waiting_bytes > limits.BODY_BUFFER_BYTES:
                self._inflow.regulate()
        elif request.received_bytes > limits.DISCARD_BYTES_MAX:
            self._end(unread=True)

    def receive_end(self) -> None:
        request = self.receiving
        if request is None:
            return
        self.receiving = None
        request.complete = True
        self.deadline = inf
        if request.admitted:
            self._shared.events.complete(request)
        else:
            request.end()
            self._mark_idle()
        if len(self._unanswered) >= limits.PIPELINED_MAX:
            self._inflow.regulate()

    def refuse_head(self, status: int, message: str) -> None:
        """Respond to a request whose head is not complete."""
        if not self.ends:
            request = Request(self, "", b"", "1.1", RequestHeaders(()), keep_alive=False)
            self._unanswered.append(request)
            self._refuse(request, status, message)

    def refuse_malformed(self, message: str) -> None:
        if self.receiving and not self.ends:
            self._shared.malformed += 1
            self._lose_body(self.receiving, message)
        else:
            self.refuse_head(400, message)

    def _refuse(self, request: Request, status: int, message: str) -> None:
        self._shared.malformed += 1
        self.deadline = inf
        request.keep_alive = False
        self._inflow.end()
        self.responses.respond(request, Response.make(status, {"message": message}))

    def _lose_body(self, request: Request, malformed: str | None = None) -> None:
        """The body can never be complete: the client ended it early, or it is `malformed` for this reason."""
        self.receiving = None
        self.deadline = inf
        request.keep_alive = False
        self._inflow.end()
        if request.admitted:
            self._shared.events.cut(request, malformed)
        elif malformed and self.responses.is_next(request):
            self.responses.respond(request, Response.make(400, {"message": malformed}))
        else:
            request.lose()

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
            self._end(unread=not request.complete)
            return
        self._mark_idle()
        if self._inflow.paused:
            self._inflow.regulate()

    def close_if_idle(self) -> None:
        if not (self._unanswered or self._parser.in_head):
            self._end(unread=False)

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    def _mark_idle(self) -> None:
        if not (self._unanswered or self.receiving or self._parser.in_head):
            self.deadline = self._loop.time() + limits.IDLE_SECONDS

    def _end(self, *, unread: bool) -> None:
        """Close the connection when all is written. If `unread` input may come, discard it for a while first."""
        self._inflow.end()
        self._forget_unanswered()
        transport = self._transport
        if transport is None:
            return
        if unread and not self._half_closed:
            self._inflow.pause(False)
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
        self._inflow.regulate()

    def _is_full(self) -> bool:
        """Return True if the client must wait: it reads too slowly, or has enough requests or bytes here."""
        receiving = self.receiving
        return (
            self._writable is not None
            or len(self._unanswered) >= limits.PIPELINED_MAX
            or (receiving is not None and receiving.waiting_bytes > limits.BODY_BUFFER_BYTES)
        )

    def expire(self, now: float) -> None:
        """Act on a deadline that has passed."""
        request = self.receiving
        if now > self.send_deadline or (self.ends and not self._unanswered):
            self.abort()
        elif request and request.admitted:
            self.receiving = None
            self.deadline = inf
            request.keep_alive = False
            self._inflow.end()
            self._shared.events.late(request)
        elif request and now > self.deadline + limits.LINGER_SECONDS:
            self.abort()
        elif request:
            request.lose()
        elif self._parser.in_head:
            self.refuse_head(408, f"The head of the request took longer than {limits.HEAD_SECONDS:.0f} s.")
        else:
            self._end(unread=False)

    # Addresses

    @property
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

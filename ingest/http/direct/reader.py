"""Reads the requests of one connection, and passes them on: the parser's callbacks, and the known heads."""

import logging
from math import inf
from typing import Protocol

from ingest.http.direct import limits
from ingest.http.direct.head import Head, RequestHeaders
from ingest.http.direct.inflow import Inflow
from ingest.http.direct.parser import RequestParser
from ingest.http.direct.request import Client, Request
from ingest.http.direct.responder import Responder
from ingest.http.direct.shared import Shared
from ingest.http.responses import Response

log = logging.getLogger("ingest.listener")


class Connection(Client, Protocol):
    """The connection of a reader."""

    deadline: float
    inflow: Inflow

    @property
    def responses(self) -> Responder: ...
    def time(self) -> float: ...
    def mark_idle(self) -> None: ...
    def end(self, *, unread: bool) -> None: ...


class RequestReader:
    """Handles the requests of a connection in the order in which they come."""

    def __init__(self, connection: Connection, shared: Shared) -> None:
        self.receiving: Request | None = None
        """The request whose body is being received."""
        self.parser = RequestParser(self)
        self._connection = connection
        self._shared = shared
        self._unanswered = connection.responses.unanswered
        self._unknown: bytes | None = None
        """Bytes that begin with a head that is not known yet, while the parser reads it."""

    @property
    def is_between(self) -> bool:
        """Return True if no part of a request has come."""
        return not (self.receiving or self.parser.in_head)

    @property
    def ends(self) -> bool:
        """No further request is read."""
        return self._connection.inflow.ended

    def read(self, data: bytes) -> None:
        if not self._read_known(data):
            self._connection.inflow.receive(data)
            self._unknown = None

    def _read_known(self, data: bytes) -> bool:
        """Handle a whole request with a known head. Return False if the parser must read the bytes."""
        connection = self._connection
        if self.receiving or self.parser.in_head or connection.inflow.waits or len(data) > limits.SLICE_BYTES:
            return False
        if len(self._unanswered) >= limits.PIPELINED_MAX:
            return False
        found = self._shared.known_heads.find(data)
        if not found:
            self._unknown = data
            return False
        head, body = found
        request = Request(connection, head)
        request.complete = True
        self._shared.requests += 1
        self._unanswered.append(request)
        connection.deadline = inf
        try:
            self._shared.events.take_whole(request, body)
        except Exception:
            log.exception("a connection failed")
            connection.abort()
        return True

    # The parser's callbacks

    def begin_head(self) -> None:
        self._connection.deadline = self._connection.time() + limits.HEAD_SECONDS

    def receive_head(self, head: Head, refusal: tuple[int, str] | None) -> None:
        """Handle a request. With a `refusal` answer its status and message instead, and end."""
        connection = self._connection
        request = Request(connection, head)
        connection.inflow.heads += 1
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
        connection.deadline = connection.time() + self._shared.body_timeout_seconds
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
                self._connection.inflow.regulate()
        elif request.received_bytes > limits.DISCARD_BYTES_MAX:
            self._connection.end(unread=True)

    def receive_end(self) -> None:
        request = self.receiving
        if request is None:
            return
        self.receiving = None
        request.complete = True
        self._connection.deadline = inf
        if request.admitted:
            self._shared.events.complete(request)
        else:
            request.end()
            self._connection.mark_idle()
        if len(self._unanswered) >= limits.PIPELINED_MAX:
            self._connection.inflow.regulate()

    def refuse_head(self, status: int, message: str) -> None:
        """Respond to a request whose head is not complete."""
        if not self.ends:
            request = Request(self._connection, Head("", b"", "1.1", RequestHeaders(()), keep_alive=False))
            self._unanswered.append(request)
            self._refuse(request, status, message)

    def refuse_malformed(self, message: str) -> None:
        if self.receiving and not self.ends:
            self._shared.malformed += 1
            self._lose(self.receiving, message)
        else:
            self.refuse_head(400, message)

    def abort(self) -> None:
        self._connection.abort()

    # The end of the input

    def lose_body(self) -> None:
        """The client sends no more."""
        if self.receiving:
            self._lose(self.receiving)

    def expire(self, now: float) -> None:
        """The deadline of a head or a body has passed."""
        request = self.receiving
        if request is None:
            self.refuse_head(408, f"The head of the request took longer than {limits.HEAD_SECONDS:.0f} s.")
        elif request.admitted:
            self._stop(request)
            self._shared.events.late(request)
        elif now > self._connection.deadline + limits.LINGER_SECONDS:
            self._connection.abort()
        else:
            request.lose()

    def _lose(self, request: Request, malformed: str | None = None) -> None:
        """The body can never be complete: the client ended it early, or it is `malformed` for this reason."""
        self._stop(request)
        if request.admitted:
            self._shared.events.cut(request, malformed)
        elif malformed and self._connection.responses.is_next(request):
            self._connection.responses.respond(request, Response.make(400, {"message": malformed}))
        else:
            request.lose()

    def _refuse(self, request: Request, status: int, message: str) -> None:
        self._shared.malformed += 1
        self._stop(request)
        self._connection.responses.respond(request, Response.make(status, {"message": message}))

    def _stop(self, request: Request) -> None:
        """Read nothing after this request."""
        self.receiving = None
        self._connection.deadline = inf
        request.keep_alive = False
        self._connection.inflow.end()

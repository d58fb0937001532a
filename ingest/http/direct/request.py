"""One request of a direct connection, as RSGI's scope and protocol, so that every handler takes it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from ingest.auth import authenticator
from ingest.errors import IngestError
from ingest.events.event import Event
from ingest.http.direct.body import RequestBody
from ingest.http.direct.head import Head, split_target
from ingest.http.responses import Header, Response
from ingest.http.rsgi import Headers
from ingest.pipeline.outcomes import Failures


class Responses(Protocol):
    """Writes the responses of one connection, in the order of the requests."""

    def is_next(self, request: "Request") -> bool: ...
    def respond(self, request: "Request", response: Response) -> None: ...
    def send_continue(self, request: "Request") -> None: ...
    def begin_stream(self, request: "Request", response: Response) -> None: ...
    def write_part(self, request: "Request", data: bytes) -> None: ...
    def end_stream(self, request: "Request") -> None: ...


class Client(Protocol):
    """The connection of a request."""

    lost: bool

    @property
    def responses(self) -> Responses: ...
    @property
    def client_address(self) -> str: ...
    @property
    def local_address(self) -> str: ...
    def regulate(self) -> None: ...
    def abort(self) -> None: ...
    async def writable(self) -> None: ...


class Delivery(Protocol):
    """A request of a telephony server: `admit`, then `submit`, then one of `accepted` and `refused`."""

    @property
    def repeats_its_head(self) -> bool: ...
    def admit(self) -> tuple[Headers, authenticator.Client]: ...
    def submit(self, body: bytes) -> "tuple[Event, asyncio.Future[Failures | None]]": ...
    def accepted(self) -> Response: ...
    def refused(self, error: IngestError) -> Response: ...


class Request:
    """The connection sets what it receives; the handler reads that and responds once."""

    proto = "http"
    scheme = "http"

    # The values of a new request.
    waits_for_continue = False
    """The client sends the body only after a response 100."""
    complete = False
    """The whole body was received."""
    received_bytes = 0
    answered = False
    """The handler has responded."""
    admitted: authenticator.Client | None = None
    """The client of an event whose body is being received."""
    delivery: Delivery | None = None
    """Set if the event comes from a telephony server."""
    response: Response | None = None
    """A response that waits for those of earlier requests."""
    stream: "ResponseStream | None" = None
    _body: RequestBody | None = None
    _split: tuple[str, str, str | None] | None = None
    _disconnected: "asyncio.Future[None] | None" = None

    def __init__(self, connection: Client, head: Head) -> None:
        self._connection = connection
        self.method, self.target, self.http_version, self.headers, self.keep_alive = head
        self.chunks: list[bytes] = []
        """The body of an event."""

    # The scope

    @property
    def path(self) -> str:
        return self._parts_of_target()[0]

    @property
    def query_string(self) -> str:
        return self._parts_of_target()[1]

    @property
    def authority(self) -> str | None:
        return self._parts_of_target()[2]

    @property
    def server(self) -> str:
        return self._connection.local_address

    @property
    def client(self) -> str:
        return self._connection.client_address

    # The protocol

    @property
    def wants_body(self) -> bool:
        """A handler reads the body, or it is an event's."""
        return self.admitted is not None or self._body is not None

    @property
    def body(self) -> RequestBody:
        """The body for a handler."""
        self._body = self._body or RequestBody(self._connection.regulate)
        return self._body

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the body that wait for the handler."""
        return self._body.bytes if self._body else 0

    async def __call__(self) -> bytes:
        return b"".join([part async for part in self])

    def __aiter__(self) -> AsyncIterator[bytes]:
        parts = self.body.parts()
        self._connection.responses.send_continue(self)
        return parts

    async def client_disconnect(self) -> None:
        """Return when the client has closed the connection."""
        self._disconnected = self._disconnected or asyncio.get_running_loop().create_future()
        if not self._connection.lost:
            await self._disconnected

    def respond(self, response: Response) -> None:
        self.answered = True
        self._connection.responses.respond(self, response)

    def abort(self) -> None:
        """Close the connection at once."""
        self._connection.abort()

    def response_bytes(self, status: int, headers: list[Header], body: bytes) -> None:
        self.respond(Response(status, headers, body))

    def response_stream(self, status: int, headers: list[Header]) -> "ResponseStream":
        self.stream = ResponseStream(self._connection, self, Response(status, headers, b""))
        return self.stream

    def end(self) -> None:
        """The whole body was received."""
        if self.response is None:
            self.body.end()

    def discard(self) -> None:
        """The response is sent: nobody reads the rest of the body."""
        self.admitted = self._body = None
        self.chunks = []

    def proceed(self) -> None:
        """The earlier responses are sent."""
        self._connection.responses.send_continue(self)
        if self.stream:
            self.stream.wake()

    def lose(self) -> None:
        """The client sends no more, or has closed the connection."""
        if self._body:
            self._body.lose()
        if self._disconnected and not self._disconnected.done():
            self._disconnected.set_result(None)

    def _parts_of_target(self) -> tuple[str, str, str | None]:
        self._split = self._split or split_target(self.target)
        return self._split


class ResponseStream:
    """A response in parts. See `ingest.http.rsgi.Transport`."""

    def __init__(self, connection: Client, request: Request, response: Response) -> None:
        self._connection = connection
        self._request = request
        self._response = response
        self._turn: asyncio.Future[None] | None = None
        self._begun = False

    async def send_bytes(self, data: bytes) -> None:
        """Send a part once earlier responses are sent and the client takes more. Data for a lost client is dropped."""
        connection = self._connection
        if not self._begun:
            if not connection.responses.is_next(self._request):
                self._turn = asyncio.get_running_loop().create_future()
                await self._turn
            self._begun = True
            connection.responses.begin_stream(self._request, self._response)
        await connection.writable()
        connection.responses.write_part(self._request, data)

    def wake(self) -> None:
        """The earlier responses are sent, or the client is lost."""
        if self._turn and not self._turn.done():
            self._turn.set_result(None)

    async def end(self) -> None:
        """The handler has ended."""
        if not self._begun:
            await self.send_bytes(b"")
        self._connection.responses.end_stream(self._request)

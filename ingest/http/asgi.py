"""Adapts RSGI to ASGI for all requests that are not on the fast path."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ingest.http.rsgi import HttpProtocol, Scope, Transport

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class AsgiAdapter:
    """Calls an ASGI application once for each HTTP request. It has no lifespan and no WebSockets."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        exchange = _Exchange(protocol)
        await self._application(asgi_scope(scope), exchange.receive, exchange.send)


def asgi_scope(scope: Scope) -> Message:
    """The ASGI 3 scope of a request. The authority of HTTP/2 becomes the Host header."""
    headers = [(name.encode(), value.encode()) for name, value in scope.headers.items()]
    if scope.authority and "host" not in scope.headers:
        headers.append((b"host", scope.authority.encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": scope.http_version,
        "method": scope.method,
        "scheme": scope.scheme,
        "path": scope.path,
        "query_string": scope.query_string.encode(),
        "root_path": "",
        "headers": headers,
        "server": _address(scope.server),
        "client": _address(scope.client),
    }


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


class _Exchange:
    """The `receive` and `send` callables of one request."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol
        self._parts: AsyncIterator[bytes] | None = None
        self._read = False
        self._start: Message = {}
        self._transport: Transport | None = None

    async def receive(self) -> Message:
        """Return the next part of the body. After its end, wait until the client disconnects."""
        self._parts = self._parts or aiter(self._protocol)
        try:
            return {"type": "http.request", "body": await anext(self._parts), "more_body": True}
        except StopAsyncIteration:
            if not self._read:
                self._read = True
                return {"type": "http.request", "body": b"", "more_body": False}
        await self._protocol.client_disconnect()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif self._transport or message.get("more_body"):
            await self._stream(message.get("body", b""))
        else:
            self._protocol.response_bytes(*self._head(), message.get("body", b""))

    async def _stream(self, part: bytes) -> None:
        self._transport = self._transport or self._protocol.response_stream(*self._head())
        if part:
            await self._transport.send_bytes(part)

    def _head(self) -> tuple[int, list[tuple[str, str]]]:
        headers = self._start.get("headers", ())
        return self._start["status"], [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]

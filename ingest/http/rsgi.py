"""The part of Granian's RSGI that the handlers use: the head of a request, its body, and its response.

An ASGI call costs 40 % more CPU than an RSGI call on the same server (bench/README.md). So the handlers speak RSGI,
and `ingest.http.asgi` adapts all other requests to ASGI.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined] # Granian has no other public name for it

__all__ = ["Handler", "Headers", "HttpProtocol", "ProtocolClosed", "Scope", "Transport"]


class Headers(Protocol):
    """Names are lower case. `get` and `items` omit values that are not visible ASCII; `in` does not."""

    def __contains__(self, name: str) -> bool: ...
    def get(self, name: str, default: Any = None) -> Any: ...
    def items(self) -> list[tuple[str, str]]: ...


class Scope(Protocol):
    """The head of a request, as documented in Granian's RSGI specification."""

    @property
    def proto(self) -> str: ...
    @property
    def http_version(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query_string(self) -> str: ...
    @property
    def authority(self) -> str | None: ...
    @property
    def server(self) -> str: ...
    @property
    def client(self) -> str: ...
    @property
    def headers(self) -> Headers: ...


class Transport(Protocol):
    def send_bytes(self, data: bytes) -> Awaitable[None]: ...


class HttpProtocol(Protocol):
    """Reads the body of a request, whole or in parts, and sends the response."""

    def __call__(self) -> Awaitable[bytes]:
        """The whole body, without a size limit. Raises `ProtocolClosed` if the body ends early."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The parts of the body. One empty part ends it. Two empty parts mean an early end, or trailers."""

    def client_disconnect(self) -> Awaitable[None]: ...
    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...
    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Transport: ...


Handler = Callable[[Scope, HttpProtocol], Awaitable[None]]
"""Handles the requests of one path."""

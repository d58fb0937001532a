"""The part of Granian's RSGI that the hot lanes speak: of a request its head, its body, and its one answer.

An ASGI call costs two fifths more CPU than an RSGI one on the same server (bench/README.md), so the hot lanes
take requests as they come, and `ingest.http.asgi` makes ASGI of all others.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined] # Granian has no other public name of it

__all__ = ["Handler", "Headers", "HttpProtocol", "ProtocolClosed", "Scope", "Transport"]


class Headers(Protocol):
    """Names are lower case. Values outside of visible ASCII are there for `in`, but not for `get` and `items`."""

    def __contains__(self, name: str) -> bool: ...
    def get(self, name: str, default: Any = None) -> Any: ...
    def items(self) -> list[tuple[str, str]]: ...


class Scope(Protocol):
    """The head of a request; see Granian's documentation of RSGI."""

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
    """The body of a request, whole or in parts, and the way back."""

    def __call__(self) -> Awaitable[bytes]:
        """The whole body, however large. Raises `ProtocolClosed` when it ends early."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Its parts. An empty one ends it, two empty ones tell that it ended early (or with trailers)."""

    def client_disconnect(self) -> Awaitable[None]: ...
    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...
    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Transport: ...


Handler = Callable[[Scope, HttpProtocol], Awaitable[None]]
"""Answers the requests of one path."""

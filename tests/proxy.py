"""A TCP proxy before a server, with which a test simulates faults of the network."""

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

CHUNK_BYTES = 1 << 16


class Proxy(ABC):
    """`async with Proxy(url) as proxy:` forwards connections to `proxy.url`; `_pass` of a subclass decides how."""

    def __init__(self, url: str) -> None:
        self._server_url = urlsplit(url)
        self._listener: asyncio.Server | None = None
        self._ways: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        if self._ways:
            await asyncio.wait(self._ways)

    @property
    def url(self) -> str:
        assert self._listener is not None
        login = self._server_url.netloc.rpartition("@")[0]
        port = self._listener.sockets[0].getsockname()[1]
        return urlunsplit(self._server_url._replace(netloc=f"{login}@127.0.0.1:{port}"))

    def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        way = asyncio.create_task(self._pass(client, to_client))
        self._ways.add(way)
        way.add_done_callback(self._ways.discard)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the server. Raises OSError."""
        return await asyncio.open_connection(self._server_url.hostname, self._server_url.port)

    @abstractmethod
    async def _pass(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Handle one client's connection."""

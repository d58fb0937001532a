"""A way to MySQL on which an answer gets lost after the server has done what it was asked to."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

CHUNK_BYTES = 1 << 16
POLL_SECONDS = 0.02


class LossyProxy:
    """`async with LossyProxy(url) as proxy:` passes on what comes to `proxy.url`, and the answers."""

    def __init__(self, url: str) -> None:
        self._server_url = urlsplit(url)
        self._listener: asyncio.Server | None = None
        self._ways: set[asyncio.Task[None]] = set()
        self._question: bytes | None = None
        self._done: Callable[[], bool] = lambda: True
        self.lost = 0

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

    def lose_answer_to(self, question: bytes, *, once: Callable[[], bool]) -> None:
        """Pass on the next data with `question`; `once` the server has acted on it, end the client's connection."""
        self._question, self._done = question, once

    def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        way = asyncio.create_task(self._pass(client, to_client))
        self._ways.add(way)
        way.add_done_callback(self._ways.discard)

    async def _pass(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(self._server_url.hostname, self._server_url.port)
        answers = asyncio.create_task(_copy(server, to_client))
        while data := await client.read(CHUNK_BYTES):
            to_server.write(data)
            if self._question and self._question in data:
                self._question = None
                answers.cancel()
                while not self._done():  # noqa: ASYNC110 - whatever the test looks at
                    await asyncio.sleep(POLL_SECONDS)
                self.lost += 1
                break
        answers.cancel()
        await asyncio.wait([answers])
        for writer in (to_server, to_client):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(CHUNK_BYTES):
            target.write(data)
    target.close()

"""The wire between the service and a server. It can be cut, slow, or drop all bytes."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.proxy import CHUNK_BYTES, Proxy

ANSWER_SECONDS = 60.0

T = TypeVar("T")
Chunk = tuple[float, bytes]
"""The time of delivery (of the loop's clock), and the bytes; empty bytes mean the end."""


class Wire(Proxy):
    """`with Wire(url) as wire:` forwards connections in a separate thread, so that the test may block."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._delay_seconds = 0.0
        self._whole = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire")

    def __enter__(self) -> Self:
        self._thread.start()
        self._whole.set()
        self._do(self.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._do(self.__aexit__(kind, exc, trace))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_SECONDS)
        self._loop.close()

    def cut(self) -> int:
        """Cut all connections at once, and return their number. New connections are possible immediately."""
        return self._do(self._cut())

    @contextmanager
    def delayed(self, seconds: float) -> Iterator[None]:
        """Delay every byte in both directions by `seconds`, for the block."""
        self._delay_seconds = seconds
        try:
            yield
        finally:
            self._delay_seconds = 0.0

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """Hold back all bytes for the block, without closing connections.

        They arrive after it, as with TCP's resends.
        """
        self._loop.call_soon_threadsafe(self._whole.clear)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._whole.set)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_SECONDS)

    async def _cut(self) -> int:
        self._whole.set()
        for writer in self._writers:
            writer.transport.abort()
        return len(self._writers) // 2

    async def _pass(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await self._connect()
        except OSError:
            to_client.transport.abort()
            return
        self._writers |= {to_client, to_server}
        await asyncio.gather(self._copy(client, to_server), self._copy(server, to_client))
        self._writers -= {to_client, to_server}

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        chunks: asyncio.Queue[Chunk] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(chunks, target))
        data = b"-"
        while data:
            try:
                data = await source.read(CHUNK_BYTES)
            except OSError:
                data = b""
            chunks.put_nowait((self._loop.time() + self._delay_seconds, data))
        await delivery

    async def _deliver(self, chunks: asyncio.Queue[Chunk], target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while (chunk := await chunks.get())[1]:
                await asyncio.sleep(chunk[0] - self._loop.time())
                await self._whole.wait()
                target.write(chunk[1])
                await target.drain()
        target.close()

"""A proxy to MySQL that loses an answer after the server has executed the statement."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from tests.proxy import CHUNK_BYTES, Proxy

POLL_SECONDS = 0.02


class LossyProxy(Proxy):
    """Forwards everything, until a test asks it to lose an answer."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._question: bytes | None = None
        self._done: Callable[[], bool] = lambda: True
        self.lost = 0

    def lose_answer_to(self, question: bytes, *, once: Callable[[], bool]) -> None:
        """Forward the next data with `question`. `once` the server has acted on it, end the client's connection."""
        self._question, self._done = question, once

    async def _pass(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await self._connect()
        answers = asyncio.create_task(_copy(server, to_client))
        while data := await client.read(CHUNK_BYTES):
            to_server.write(data)
            if self._question and self._question in data:
                self._question = None
                answers.cancel()
                while not self._done():  # noqa: ASYNC110 - the test decides what to wait for
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

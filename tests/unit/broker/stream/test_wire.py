import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import uvloop

from ingest.broker.stream.wire import FastConnection

HOST = "127.0.0.1"


class Server:
    """Keeps the bytes that it receives."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.ended = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.got += data
        self.ended.set()
        writer.close()


def run(use: Callable[[FastConnection], Awaitable[object]]) -> tuple[bytes, list[dict[str, Any]]]:
    """Return the bytes that arrived from `use`, and the errors of the event loop, of the service's kind."""
    wrong: list[dict[str, Any]] = []

    async def main() -> bytes:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        server = Server()
        async with await asyncio.start_server(server, HOST, 0) as listening:
            connection = FastConnection(HOST, listening.sockets[0].getsockname()[1])
            await connection.open()
            await use(connection)
            await connection.close()
            await server.ended.wait()
        return bytes(server.got)

    return uvloop.run(main()), wrong


def test_frames_arrive_in_the_order_they_were_written_in() -> None:
    async def use(connection: FastConnection) -> None:
        await asyncio.gather(*(connection.write(bytes([number])) for number in range(3)))
        await asyncio.sleep(0)
        await connection.write(b"\3" * 300_000)
        await connection.write(b"\4")
        await asyncio.sleep(0)

    assert run(use) == (b"\0\1\2" + b"\3" * 300_000 + b"\4", [])


def test_frame_for_a_connection_that_is_gone_is_an_error_of_the_writer_and_none_of_the_loop() -> None:
    async def use(connection: FastConnection) -> None:
        cast(asyncio.StreamWriter, connection._writer).transport.abort()
        await asyncio.sleep(0.01)
        with pytest.raises(ConnectionResetError):
            await connection.write(b"lost")
        await asyncio.sleep(0.01)

    assert run(use) == (b"", [])

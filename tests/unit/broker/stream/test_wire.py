import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import uvloop
from rstream import schema
from rstream.encoding import encode_publish

from ingest.broker.stream.wire import FRAME_OVERHEAD_BYTES, FastConnection, filter_field, publish_frames

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


def test_filtered_messages_are_as_rstream_encodes_them() -> None:
    """rstream counts the characters of a filter value instead of its bytes, so the values here are ASCII."""
    messages = [(7, b"first"), (8, b"second")]
    values = {7: "kamailio", 8: "crm"}
    publish = schema.Publish(
        3,
        messages=[
            schema.Message(publishing_id=number, filter_value=values[number], data=data) for number, data in messages
        ],
    )

    (frame,) = publish_frames(3, messages, 1000, {number: filter_field(value) for number, value in values.items()})

    assert frame == encode_publish(publish, 2)


def test_frames_with_filters_keep_the_limit() -> None:
    messages = [(number, b"x" * 10) for number in range(9)]
    filters = {number: filter_field("☎") for number, _ in messages}
    size = 8 + 2 + 3 + 4 + 10

    frames = list(publish_frames(3, messages, FRAME_OVERHEAD_BYTES + 2 * size, filters))

    assert [len(frame) for frame in frames] == [FRAME_OVERHEAD_BYTES + 2 * size] * 4 + [FRAME_OVERHEAD_BYTES + size]
    assert all(frame[4:8] == b"\0\2\0\2" for frame in frames)

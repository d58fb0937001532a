"""A direct listener on a free port, with a store in memory."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ingest.http.admission import Admission
from ingest.http.direct.events import DirectEvents
from ingest.http.direct.listener import DirectListener, ListenerLimits
from ingest.http.event_handler import EventHandler
from ingest.http.rsgi import HttpProtocol, Scope
from ingest.telemetry.metrics import Metrics
from tests.unit.conftest import BODY_BYTES_MAX

CONNECTIONS_MAX = 4
BODY_TIMEOUT_SECONDS = 30.0

Handle = Callable[[Scope, HttpProtocol], Awaitable[None]]


class Application:
    """Handles what is no event, by the path. Tests add handlers."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handle] = {}
        self.seen: list[Scope] = []

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        self.seen.append(scope)
        if handler := self.handlers.get(scope.path):
            await handler(scope, protocol)
        else:
            protocol.response_bytes(404, [], b"no such path")


class Wire:
    """A client connection in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Read the next response: status, headers and body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def statuses(self, count: int) -> list[int]:
        return [(await self.response())[0] for _ in range(count)]

    async def ends(self) -> bool:
        """Return whether nothing else comes before the end of the connection."""
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True


Connect = Callable[[], Awaitable[Wire]]


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def listener(
    handler: EventHandler, admission: Admission, metrics: Metrics, application: Application
) -> AsyncIterator[DirectListener]:
    events = DirectEvents(handler, admission, BODY_BYTES_MAX)
    bounds = ListenerLimits(CONNECTIONS_MAX, BODY_TIMEOUT_SECONDS, fast=True)
    made = DirectListener(application, events, bounds, metrics)
    listening = socket.create_server(("127.0.0.1", 0))
    made.start(listening, asyncio.get_running_loop())
    yield made
    await made.stop(0)
    for connection in list(made.connections):
        connection.abort()


@pytest.fixture
async def connect(listener: DirectListener) -> AsyncIterator[Connect]:
    writers = []

    async def connect() -> Wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writers.append(writer)
        return Wire(reader, writer)

    yield connect
    for writer in writers:
        writer.close()


@pytest.fixture
async def wire(connect: Connect) -> Wire:
    return await connect()

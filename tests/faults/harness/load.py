"""A load on the service: events at a bounded rate over keep-alive connections, recorded in a ledger."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from tests.faults.harness.background import AsyncBackground
from tests.faults.harness.ledger import Key, Ledger, body_of
from tests.running import TOKEN

ANSWER_SECONDS = 10.0
"""A request without an answer after this time is unknown."""
CONNECT_SECONDS = 10.0
EVENTS_PER_SECOND = 300.0
CONNECTIONS = 16
STOP_SECONDS = ANSWER_SECONDS + CONNECT_SECONDS + 30


class Client:
    """One keep-alive HTTP/1.1 connection, which is opened again after a loss."""

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> None:
        """Connect if there is no connection. Raises OSError or TimeoutError."""
        if self._streams and self._streams[0].at_eof():
            await self.close()
        if self._streams is None:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._streams = await asyncio.open_connection("127.0.0.1", self._port())

    async def post(self, body: bytes) -> int:
        """Send a body, and return the status of the answer. Raises OSError, TimeoutError or EOFError without one."""
        assert self._streams is not None, "connect comes first"
        reader, writer = self._streams
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(
                b"POST /api/call-events HTTP/1.1\r\nHost: localhost\r\nX-API-TOKEN: %b\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (TOKEN.encode(), len(body), body)
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await _skip_body(reader, head)
        if b"connection: close" in head:
            await self.close()
        return int(head.split()[1])

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams:
            streams[1].close()
            with suppress(OSError):
                await streams[1].wait_closed()


async def _skip_body(reader: asyncio.StreamReader, head: bytes) -> None:
    """Read the body, also one in chunks, as PHP sends it."""
    if b"content-length:" in head:
        await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()


class Load(AsyncBackground):
    """`with Load(port) as load:` posts events until the block ends, and then waits for the open answers.

    It runs in a separate thread, so that the test may block while it kills servers. A late event does not
    raise the rate of the next ones, so an outage is not followed by a flood.
    """

    def __init__(
        self,
        port: int | Callable[[], int],
        events_per_second: float = EVENTS_PER_SECOND,
        connections: int = CONNECTIONS,
        *,
        resending: bool = False,
        keep_alive: bool = True,
    ) -> None:
        """`port` returns the port for each new connection, for example a balancer's choice.

        With `resending` the load sends an unanswered event again until it is answered, even after the block. If
        `keep_alive` is False, each event has a connection of its own.
        """
        super().__init__(STOP_SECONDS)
        self.ledger = Ledger()
        self.events_per_second = events_per_second
        self._port = port if callable(port) else lambda: port
        self._connections = connections
        self._resending = resending
        self._keep_alive = keep_alive
        self._interval_seconds = connections / events_per_second

    async def _run_async(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._connections):
                group.create_task(self._post_at_intervals(number))

    async def _post_at_intervals(self, number: int) -> None:
        client = Client(self._port)
        due = time.monotonic() + self._interval_seconds * number / self._connections
        while not self._stopping.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._interval_seconds, time.monotonic())
            key = await self._post(client)
            while key and self._resending:
                key = await self._post(client, key)
        await client.close()

    async def _post(self, client: Client, again: Key | None = None) -> Key | None:
        """Send a new event, or `again` an old one. Return its key if there was no answer."""
        try:
            await client.connect()
        except OSError:
            self.ledger.unreached += 1
            return again
        key = again or self.ledger.new_key()
        sent_at = time.monotonic()
        try:
            status = await client.post(body_of(key))
        except (OSError, EOFError):
            self.ledger.unanswered(key)
            await client.close()
            return key
        self.ledger.answered(key, status, sent_at, time.monotonic() - sent_at)
        if not self._keep_alive:
            await client.close()
        return None

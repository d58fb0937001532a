"""A load on the service: events at a bounded rate over keep-alive connections, each entered in a ledger."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from tests.faults.harness.background import Background
from tests.faults.harness.ledger import Key, Ledger, body_of
from tests.running import TOKEN

ANSWER_SECONDS = 10.0
"""After this long without an answer a request is unknown."""
CONNECT_SECONDS = 2.0
EVENTS_PER_SECOND = 300.0
CONNECTIONS = 16
STOP_SECONDS = ANSWER_SECONDS + CONNECT_SECONDS + 3


class Client:
    """One keep-alive HTTP/1.1 connection, opened anew after it was lost."""

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> None:
        """Make sure that there is a connection. Raises OSError, also TimeoutError."""
        if self._streams and self._streams[0].at_eof():
            await self.close()
        if self._streams is None:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._streams = await asyncio.open_connection("127.0.0.1", self._port())

    async def post(self, body: bytes) -> int:
        """The status of the answer. Raises OSError (also TimeoutError) or EOFError if none comes."""
        assert self._streams is not None, "connect comes first"
        reader, writer = self._streams
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(
                b"POST /api/call-events HTTP/1.1\r\nHost: localhost\r\nX-API-TOKEN: %b\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (TOKEN.encode(), len(body), body)
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        if b"connection: close" in head:
            await self.close()
        return int(head.split()[1])

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams:
            streams[1].close()
            with suppress(OSError):
                await streams[1].wait_closed()


class Load(Background):
    """`with Load(port) as load:` posts events until the block ends, then waits for the answers still due.

    Runs in a thread of its own, so that the test may wait for the servers it kills. What one event is
    late does not add to the rate of the next: an outage is not followed by a flood.
    """

    def __init__(
        self,
        port: int | Callable[[], int],
        events_per_second: float = EVENTS_PER_SECOND,
        connections: int = CONNECTIONS,
        *,
        insisting: bool = False,
    ) -> None:
        """`port` may be a balancer's choice for each new connection; who is `insisting` sends again what is not
        answered, until it is, also after the end."""
        super().__init__(STOP_SECONDS)
        self.ledger = Ledger()
        self.events_per_second = events_per_second
        self._port = port if callable(port) else lambda: port
        self._connections = connections
        self._insisting = insisting
        self._interval_seconds = connections / events_per_second

    async def _run(self) -> None:
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
            while key and self._insisting:
                key = await self._post(client, key)
        await client.close()

    async def _post(self, client: Client, again: Key | None = None) -> Key | None:
        """Send a new event, or an old one again; its key if there was no answer."""
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
        return None

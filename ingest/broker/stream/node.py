"""One connection of rstream's to one node of RabbitMQ, with the publishers that write on it.

rstream's `Client` speaks the protocol; its `Producer` above it is not used: that one flushes by a timer, connects again
by itself with nobody knowing of it, and tells nobody of a write that failed.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rstream import schema
from rstream.client import Client

from ingest.broker.stream.address import CONNECTION_NAME, HEARTBEAT_SECONDS, StreamAddress, abort, finished
from ingest.broker.stream.wire import FRAME_OVERHEAD_BYTES, MESSAGE_OVERHEAD_BYTES, Message, QuickClient
from ingest.errors import BrokerUnavailable

FRAME_BYTES_MAX = 1 << 20
"""Asked for; RabbitMQ's own default, which may ask for less."""
OUTLETS_MAX = 200
"""Publishers declared at a time; the protocol has ids for 256 a connection."""
MOVED = "RabbitMQ's stream was deleted, or has a new leader."
LOST = "The connection to RabbitMQ was lost."


class Publication:
    """What one call has published, on one or several outlets: how many are open, and what was refused."""

    __slots__ = ("done", "open", "refused")

    def __init__(self, count: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.open = count
        self.refused: set[int] = set()
        """Publishing ids."""

    def answered(self, count: int) -> None:
        """The last answer wakes the waiter."""
        self.open -= count
        if self.open <= 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, reason: str) -> None:
        """What is open stays unknown."""
        if not self.done.done():
            self.done.set_exception(BrokerUnavailable(reason))


class Outlet:
    """A publisher as the broker knows it: of one stream, with the name (reference) by which it discards repeats."""

    def __init__(self, stream: str, number: int) -> None:
        self.stream = stream
        self.number = number
        self._open: dict[int, Publication] = {}

    def __len__(self) -> int:
        """Messages that are not answered yet."""
        return len(self._open)

    def overlapping(self, ids: Iterable[int]) -> Publication | None:
        """One that still waits for an answer to one of these publishing ids."""
        if self._open.keys().isdisjoint(ids):
            return None
        return next(self._open[publishing_id] for publishing_id in ids if publishing_id in self._open)

    def expect(self, ids: Iterable[int], publication: Publication) -> None:
        """Before the first byte is out: the first confirms come while the last frame is written."""
        self._open.update(dict.fromkeys(ids, publication))

    def answer(self, ids: Iterable[int], *, refused: bool = False) -> None:
        """Ids that nobody waits for are ignored."""
        for publishing_id in ids:
            publication = self._open.pop(publishing_id, None)
            if publication is not None:
                if refused:
                    publication.refused.add(publishing_id)
                publication.answered(1)

    def fail(self, reason: str) -> None:
        for publication in set(self._open.values()):
            publication.fail(reason)
        self._open.clear()


class StreamNode:
    """`on_lost` is told the reason when the connection, or a stream on it, is gone; it is of no more use then."""

    def __init__(self, client: Client, on_lost: Callable[[str], None]) -> None:
        self._client: Any = client  # Any, as `end` needs what is no part of its interface
        self._on_lost = on_lost
        self._outlets: dict[int, Outlet] = {}
        self._numbers: dict[tuple[str, str], int] = {}

    @classmethod
    async def open(cls, address: StreamAddress, host: str, port: int, on_lost: Callable[[str], None]) -> "StreamNode":
        """Raises one of `stream_address.ERRORS`; the caller bounds the time."""
        client = QuickClient(
            host,
            port,
            ssl_context=address.ssl_context(),
            frame_max=FRAME_BYTES_MAX,
            heartbeat=HEARTBEAT_SECONDS,
            connection_name=CONNECTION_NAME,
            connection_closed_handler=lambda _: on_lost(LOST),
        )
        node = cls(client, on_lost)
        try:
            await client.start()
            node._listen()
            await client.authenticate(address.vhost, address.username, address.password)
        except BaseException:
            await node.end(0.0, broken=True)
            raise
        client.add_stream(CONNECTION_NAME)  # without one rstream tells nobody of a lost connection
        return node

    @property
    def client(self) -> Client:
        return self._client  # type: ignore[no-any-return]  # see above

    @property
    def message_bytes_max(self) -> int:
        return int(self._client.frame_max) - FRAME_OVERHEAD_BYTES - MESSAGE_OVERHEAD_BYTES

    async def outlet(self, stream: str, producer_name: str) -> Outlet:
        """The publisher of this name, declared at first use; without a name the broker discards nothing."""
        number = self._numbers.get((stream, producer_name))
        if number is None:
            number = await self._free_number()
            await self._client.declare_publisher(stream, producer_name, number)
            self._outlets[number] = Outlet(stream, number)
        else:
            del self._numbers[stream, producer_name]  # and put behind the others: the first one is longest unused
        self._numbers[stream, producer_name] = number
        return self._outlets[number]

    async def send(self, outlet: Outlet, messages: Sequence[Message]) -> None:
        """In as few frames as the broker's limit allows. Raises OSError if the connection is lost."""
        await self._client.publish_quickly(outlet.number, messages)

    async def answers(self, stream: str) -> bool:
        """Ask the broker for the stream; False if it is gone."""
        return bool(await self._client.stream_exists(stream))

    def fail(self, reason: str) -> None:
        for outlet in self._outlets.values():
            outlet.fail(reason)

    async def end(self, seconds: float, *, broken: bool) -> None:
        """Close within `seconds`, without a word to a broker that does not listen."""
        if broken or not await finished(self._client.close(), seconds):
            await abort(self._client)

    async def _free_number(self) -> int:
        if len(self._numbers) >= OUTLETS_MAX:
            for key, number in self._numbers.items():
                if not self._outlets[number]:
                    del self._numbers[key]
                    del self._outlets[number]
                    await self._client.delete_publisher(number)
                    return number
        return next(number for number in range(256) if number not in self._outlets)

    def _listen(self) -> None:
        """rstream's own handlers come too late for a leader that moves at once, as after a restart,
        and leave a connection looking alive that the broker has closed."""
        self._client.add_handler(schema.PublishConfirm, self._on_confirm, CONNECTION_NAME)
        self._client.add_handler(schema.PublishError, self._on_error, CONNECTION_NAME)
        self._client.add_handler(schema.MetadataUpdate, lambda _: self._on_lost(MOVED), CONNECTION_NAME)
        self._client.add_handler(schema.Close, self._on_close, CONNECTION_NAME)

    def _on_confirm(self, frame: schema.PublishConfirm) -> None:
        if outlet := self._outlets.get(frame.publisher_id):
            outlet.answer(frame.publishing_ids)

    def _on_error(self, frame: schema.PublishError) -> None:
        """All of RabbitMQ's codes here mean the stream or the publisher, none the message: only another connection
        ends it, to a new leader or a new stream, and in order again."""
        code = frame.errors[0].response_code if frame.errors else 0
        self._on_lost(f"RabbitMQ's stream takes no more from this connection (code {code}).")

    def _on_close(self, frame: schema.Close) -> None:
        self._on_lost(f"RabbitMQ closed the connection: {frame.reason}.")

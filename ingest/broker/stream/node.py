"""One connection to one node of RabbitMQ, and the producers declared on it.

rstream's `Client` implements the protocol. Its `Producer` is not used: it flushes by a timer, reconnects unnoticed, and
does not report failed writes.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rstream import schema
from rstream.client import Client
from rstream.constants import Key

from ingest.broker.stream.address import CONNECTION_NAME, HEARTBEAT_SECONDS, StreamAddress, abort, finished
from ingest.broker.stream.wire import FRAME_OVERHEAD_BYTES, MESSAGE_OVERHEAD_BYTES, FastClient, Filters, Message
from ingest.errors import BrokerUnavailable

FRAME_BYTES_MAX = 1 << 20
"""The requested limit, RabbitMQ's default. The broker may reduce it."""
FILTERS_SINCE = (3, 13)
"""The version of RabbitMQ whose streams have filter values."""
FILTERED_PUBLISH = schema.FrameHandlerInfo(Key.Publish.value, min_version=1, max_version=2)
"""Version 2 of the command `publish` has filter values."""
PRODUCERS_MAX = 200
"""Producers declared at a time. The protocol allows 256 on a connection."""
MOVED = "RabbitMQ's stream was deleted, or has a new leader."
LOST = "The connection to RabbitMQ was lost."


class Publication:
    """The messages of one call, on one or several producers: the number of open ones, and the refused ones."""

    __slots__ = ("done", "open", "refused")

    def __init__(self, count: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.open = count
        self.refused: set[int] = set()
        """Publishing ids."""

    def answered(self, count: int) -> None:
        """Record answers. The last one wakes the waiter."""
        self.open -= count
        if self.open <= 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, reason: str) -> None:
        """Fail the waiter. The outcome of open messages stays unknown."""
        if not self.done.done():
            self.done.set_exception(BrokerUnavailable(reason))


class DeclaredProducer:
    """A producer that is declared for one stream. The broker discards duplicates by the producer's name."""

    def __init__(self, stream: str, number: int) -> None:
        self.stream = stream
        self.number = number
        self._open: dict[int, Publication] = {}

    def __len__(self) -> int:
        """The number of messages without an answer."""
        return len(self._open)

    def overlapping(self, ids: Iterable[int]) -> Publication | None:
        """Return a publication that still waits for an answer to one of these publishing ids."""
        return next((self._open[publishing_id] for publishing_id in ids if publishing_id in self._open), None)

    def expect(self, ids: Iterable[int], publication: Publication) -> None:
        """Register ids before the first byte is sent: first confirms come while the last frame is written."""
        self._open.update(dict.fromkeys(ids, publication))

    def answer(self, ids: Iterable[int], *, refused: bool = False) -> None:
        """Record answers. Unknown ids are ignored."""
        for publishing_id in ids:
            publication = self._open.pop(publishing_id, None)
            if publication is not None:
                if refused:
                    publication.refused.add(publishing_id)
                publication.answered(1)

    def fail(self, reason: str) -> None:
        for publication in dict.fromkeys(self._open.values()):
            publication.fail(reason)
        self._open.clear()


class StreamNode:
    """`on_lost` receives the reason when the connection or one of its streams is gone. The node is unusable then."""

    def __init__(self, client: Client, on_lost: Callable[[str], None]) -> None:
        self._client: Any = client  # Any, because `end` uses internals
        self._on_lost = on_lost
        self._producers: dict[int, DeclaredProducer] = {}
        self._numbers: dict[tuple[str, str], int] = {}

    @classmethod
    async def open(cls, address: StreamAddress, host: str, port: int, on_lost: Callable[[str], None]) -> "StreamNode":
        """Connect. Raises one of `ingest.broker.stream.address.ERRORS`. The caller limits the time."""
        client = FastClient(
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
        client.add_stream(CONNECTION_NAME)  # without a stream rstream does not report a lost connection
        return node

    @property
    def client(self) -> Client:
        return self._client  # type: ignore[no-any-return]  # see above

    @property
    def message_bytes_max(self) -> int:
        return int(self._client.frame_max) - FRAME_OVERHEAD_BYTES - MESSAGE_OVERHEAD_BYTES

    async def declare(self, stream: str, producer_name: str) -> DeclaredProducer:
        """Return the producer of this name, declared at first use. With an empty name the broker discards nothing."""
        number = self._numbers.get((stream, producer_name))
        if number is None:
            number = await self._free_number()
            await self._client.declare_publisher(stream, producer_name, number)
            self._producers[number] = DeclaredProducer(stream, number)
        else:
            del self._numbers[stream, producer_name]  # and insert it last: the first one is unused for the longest time
        self._numbers[stream, producer_name] = number
        return self._producers[number]

    async def send(
        self, producer: DeclaredProducer, messages: Sequence[Message], filters: Filters | None = None
    ) -> None:
        """Send in as few frames as the broker's limit allows. Raises OSError if the connection is lost."""
        await self._client.publish_fast(producer.number, messages, filters)

    async def takes_filters(self) -> bool:
        """Ask the broker whether messages may have filter values. A flag of a newer one may turn them off."""
        if version_of(self._client) < FILTERS_SINCE:
            return False  # 3.10 does not know the question
        found = await self._client.exchange_command_version(FILTERED_PUBLISH)
        return bool(found.key_command == FILTERED_PUBLISH.key_command and found.max_version >= 2)

    async def answers(self, stream: str) -> bool:
        """Ask the broker for the stream. Return False if it is gone."""
        return bool(await self._client.stream_exists(stream))

    def fail(self, reason: str) -> None:
        for producer in self._producers.values():
            producer.fail(reason)

    async def end(self, seconds: float, *, broken: bool) -> None:
        """Close within `seconds`. If the connection is broken, close it without telling the broker."""
        if broken or not await finished(self._client.close(), seconds):
            await abort(self._client)

    async def _free_number(self) -> int:
        if len(self._numbers) >= PRODUCERS_MAX:
            for key, number in self._numbers.items():
                if not self._producers[number]:
                    del self._numbers[key]
                    del self._producers[number]
                    await self._client.delete_publisher(number)
                    return number
        return next(number for number in range(256) if number not in self._producers)

    def _listen(self) -> None:
        """Replace rstream's handlers.

        They are too slow for a leader that moves at once, as after a restart. They also do not notice that the broker
        has closed a connection.
        """
        self._client.add_handler(schema.PublishConfirm, self._on_confirm, CONNECTION_NAME)
        self._client.add_handler(schema.PublishError, self._on_error, CONNECTION_NAME)
        self._client.add_handler(schema.MetadataUpdate, lambda _: self._on_lost(MOVED), CONNECTION_NAME)
        self._client.add_handler(schema.Close, self._on_close, CONNECTION_NAME)

    def _on_confirm(self, frame: schema.PublishConfirm) -> None:
        if producer := self._producers.get(frame.publisher_id):
            producer.answer(frame.publishing_ids)

    def _on_error(self, frame: schema.PublishError) -> None:
        """Give up the connection: RabbitMQ's codes here concern the stream or the producer, never the message.

        Only a new connection helps. It finds a new leader or a new stream, and publishes in order again.
        """
        code = frame.errors[0].response_code if frame.errors else 0
        self._on_lost(f"RabbitMQ's stream refuses messages of this connection (code {code}).")

    def _on_close(self, frame: schema.Close) -> None:
        self._on_lost(f"RabbitMQ closed the connection: {frame.reason}.")


def version_of(client: Client) -> tuple[int, ...]:
    """Return major and minor version of the broker."""
    text = str((client.server_properties or {}).get("version", "0"))
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())

"""The brokers for the publishers' contract: their publishers, and how to read the messages that arrived."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pika
from rstream import Consumer, amqp_decoder

from ingest.broker.amqp.publisher import AmqpPublisher
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.broker.base import Publisher
from ingest.broker.embedded import EmbeddedPublisher, EmbeddedQueue
from ingest.broker.stream.publisher import StreamPublisher
from ingest.broker.stream.topology import StreamTopology
from ingest.telemetry.connection_metrics import NO_OBSERVER
from tests.services import RabbitMQServer
from tests.services.rabbitmq_operator import keys_of_bindings

ARRIVE_SECONDS = 60.0
POLL_SECONDS = 0.02
LIMITS: Mapping[str, Any] = {
    "confirm_timeout_seconds": 10.0,
    "connect_timeout_seconds": 3.0,
    "reconnect_seconds_max": 0.5,
}


class Received(msgspec.Struct, frozen=True):
    """A message as another client sees it. A field is None if the broker does not keep it."""

    message_id: str
    type: str
    timestamp: int
    body: bytes
    content_type: str | None = None
    persistent: bool | None = None
    headers: Mapping[str, str] | None = None


Enough = Callable[[Sequence[Received]], bool]


class Broker(ABC):
    """A queue or stream for one test. It does not exist until a publisher has declared it."""

    kind: str
    name: str

    @abstractmethod
    def publisher(self, **limits: float) -> Publisher:
        """Return a publisher that is not started. `limits` replace those in `LIMITS`."""

    @abstractmethod
    async def read(self, enough: Enough) -> list[Received]:
        """Consume messages in order until `enough` is true. Raises TimeoutError."""

    async def received(self, count: int) -> list[Received]:
        return await self.read(lambda messages: len(messages) >= count)

    @abstractmethod
    async def delete(self) -> None:
        """Remove the queue or stream, if it exists."""


def all_of(ids: Iterable[str]) -> Enough:
    """Return a condition: every id was seen, in any order and any number of times."""
    wanted = set(ids)
    return lambda messages: wanted <= {message.message_id for message in messages}


class Embedded(Broker):
    kind = "embedded"

    def __init__(self, folder: Path) -> None:
        self.name = "queue.db"
        self.path = folder / "queue.db"

    def publisher(self, **limits: float) -> Publisher:
        return EmbeddedPublisher(self.path, events_max=int(limits.get("events_max", 1000)), timeout_seconds=2.0)

    async def read(self, enough: Enough) -> list[Received]:
        found: list[Received] = []
        with closing(EmbeddedQueue(self.path, 2.0)) as queue:
            async with asyncio.timeout(ARRIVE_SECONDS):
                while not enough(found):
                    for message in queue.oldest(1000):
                        found.append(Received(str(message.message_id), message.type, message.timestamp, message.body))
                        queue.acknowledge(message)
                    await asyncio.sleep(POLL_SECONDS)
        return found

    async def delete(self) -> None:
        self.path.unlink(missing_ok=True)


class Queue(Broker):
    """A queue of `kind` quorum or classic, published to through aio-pika and read with pika."""

    def __init__(self, server: RabbitMQServer, kind: str) -> None:
        self.kind = kind
        self.name = server.fresh_queue_name()
        self.url = server.amqp_url

    def publisher(self, **limits: float) -> Publisher:
        return AmqpPublisher(
            self.url, QueueDeclaration(self.name, self.kind), NO_OBSERVER, channels_max=3, **{**LIMITS, **limits}
        )

    async def read(self, enough: Enough) -> list[Received]:
        return await asyncio.to_thread(self._read, enough)

    def _read(self, enough: Enough) -> list[Received]:
        found: list[Received] = []
        with self.channel() as channel:
            for method, properties, body in channel.consume(self.name, inactivity_timeout=ARRIVE_SECONDS):
                if method is None:
                    raise TimeoutError(f"{len(found)} messages came")
                found.append(_received(properties, body))
                channel.basic_ack(method.delivery_tag)
                if enough(found):
                    channel.cancel()
                    return found
        raise AssertionError("the queue was deleted")

    def declare(self, arguments: Mapping[str, Any]) -> None:
        """Declare it as another client may have done before the service."""
        with self.channel() as channel:
            channel.queue_declare(self.name, durable=True, arguments={"x-queue-type": self.kind, **arguments})

    def channel(self) -> AbstractContextManager[Any]:
        return channel_to(self.url)

    async def delete(self) -> None:
        _delete(self.url, self.name)


class Stream(Broker):
    """A stream, published to and read through rstream."""

    kind = "stream"

    def __init__(self, server: RabbitMQServer) -> None:
        self.name = server.fresh_queue_name()
        self.url = server.stream_url
        self.amqp_url = server.amqp_url
        parts = urlsplit(self.url)
        self.options: dict[str, Any] = {
            "host": parts.hostname,
            "port": parts.port,
            "username": parts.username,
            "password": parts.password,
        }

    def publisher(self, **limits: float) -> Publisher:
        return StreamPublisher(self.url, StreamTopology(self.name), NO_OBSERVER, **{**LIMITS, **limits})

    async def read(self, enough: Enough) -> list[Received]:
        found: list[Received] = []
        done = asyncio.Event()

        def take(message: Any, _: object) -> None:
            found.append(_received_of_stream(message))
            if enough(found):
                done.set()

        async with Consumer(**self.options) as consumer, asyncio.timeout(ARRIVE_SECONDS):
            await consumer.subscribe(self.name, take, decoder=amqp_decoder)
            await done.wait()
        return found

    async def delete(self) -> None:
        _delete(self.amqp_url, self.name)


class SuperStream(Stream):
    """A stream in partitions. `amqp` says whether its exchange may be declared over AMQP."""

    kind = "super stream"

    def __init__(self, server: RabbitMQServer, partitions: int, *, amqp: bool = True) -> None:
        super().__init__(server)
        self._server = server
        self.topology = StreamTopology(self.name, partitions, amqp_url=server.amqp_url if amqp else None)

    def publisher(self, **limits: float) -> Publisher:
        return StreamPublisher(self.url, self.topology, NO_OBSERVER, **{**LIMITS, **limits})

    def partition(self, number: int) -> Stream:
        stream = Stream(self._server)
        stream.name = self.topology.streams[number]
        return stream

    def bindings(self) -> Mapping[str, str]:
        """Stream → the key of its binding to the exchange."""
        return keys_of_bindings(self._server, self.name)

    async def delete(self) -> None:
        for stream in self.topology.streams:
            _delete(self.amqp_url, stream)
        with channel_to(self.amqp_url) as channel:
            channel.exchange_delete(self.name)


@contextmanager
def channel_to(amqp_url: str) -> Iterator[Any]:
    """Open a channel of pika on a connection of its own."""
    with closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection:
        yield connection.channel()


def _delete(amqp_url: str, name: str) -> None:
    with channel_to(amqp_url) as channel:
        channel.queue_delete(name)


def _received(properties: Any, body: bytes) -> Received:
    return Received(
        message_id=properties.message_id,
        type=properties.type,
        timestamp=properties.timestamp,
        body=body,
        content_type=properties.content_type,
        persistent=properties.delivery_mode == 2,
        headers=properties.headers or {},
    )


def _received_of_stream(message: Any) -> Received:
    properties = message.properties
    return Received(
        message_id=properties.message_id.decode(),
        type=properties.subject.decode(),
        timestamp=properties.creation_time // 1000,
        body=message.body,
        content_type=properties.content_type.decode(),
        headers={name.decode(): text.decode() for name, text in (message.application_properties or {}).items()},
    )


async def until(condition: Callable[[], object], seconds: float = ARRIVE_SECONDS) -> None:
    """Wait for `condition`. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def publishing(publisher: Publisher) -> AsyncIterator[Publisher]:
    """Start the publisher, and wait until it is ready."""
    await publisher.start()
    try:
        await until(lambda: publisher.ready)
        yield publisher
    finally:
        await publisher.close()


@asynccontextmanager
async def removed(broker: Broker) -> AsyncIterator[Broker]:
    """Delete everything that the test declared, because other tests share the server."""
    try:
        yield broker
    finally:
        with suppress(pika.exceptions.AMQPError):
            await broker.delete()

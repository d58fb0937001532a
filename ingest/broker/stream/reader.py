"""Reads a RabbitMQ stream; changes nothing."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
from rstream import Consumer, MessageContext, amqp_decoder
from rstream.exceptions import StreamDoesNotExist

from ingest.broker.stream.address import ERRORS, StreamAddress, abort, finished
from ingest.broker.supervisor import text_of
from ingest.errors import BrokerUnavailable
from ingest.failover import FailoverHosts

log = logging.getLogger("ingest.publisher")

BUFFERED_MESSAGES_MAX = 1000
CLOSE_SECONDS = 2.0


class StreamMessage(msgspec.Struct, frozen=True):
    """`timestamp` is Unix time in seconds. Fields that a message of another publisher lacks are empty."""

    message_id: str
    type: str
    timestamp: int
    body: bytes


async def read_streams(
    url: str, streams: Sequence[str], connect_timeout_seconds: float
) -> AsyncGenerator[StreamMessage, None]:
    """Yield the streams' messages, each stream's oldest first, then new ones. Raises `BrokerUnavailable`."""
    arrived: asyncio.Queue[bytes | None] = asyncio.Queue(BUFFERED_MESSAGES_MAX)

    async def arrive(message: bytes, _: MessageContext) -> None:
        await arrived.put(message)

    async def lose(_: Any) -> None:
        await arrived.put(None)

    async def subscribed(address: StreamAddress) -> Consumer:
        consumer = OneConnectionConsumer(**address.options(), on_close_handler=lose)
        try:
            for stream in streams:
                await _subscribe(consumer, stream, arrive, connect_timeout_seconds)
        except BaseException:
            await finished(consumer.close(), CLOSE_SECONDS)
            raise
        return consumer

    consumer = await FailoverHosts(StreamAddress.parse_each(url)).connected(subscribed)
    try:
        while (message := await arrived.get()) is not None:
            yield decoded(message)
        raise BrokerUnavailable("The connection to RabbitMQ was lost.")
    finally:
        await finished(consumer.close(), CLOSE_SECONDS)


def decoded(message: bytes) -> StreamMessage:
    """Decode an AMQP 1.0 message. Other bytes become the body of a message unchanged."""
    try:
        read = amqp_decoder(message)
    except (KeyError, IndexError, TypeError, ValueError):
        return StreamMessage("", "", 0, message)
    properties = read.properties
    body = read.body if isinstance(read.body, bytes) else b""
    if properties is None:
        return StreamMessage("", "", 0, body)
    seconds = (properties.creation_time or 0) // 1000
    return StreamMessage(_text(properties.message_id), _text(properties.subject), seconds, body)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else str(value)


async def _subscribe(consumer: Consumer, stream: str, callback: Any, timeout_seconds: float) -> None:
    try:
        async with asyncio.timeout(timeout_seconds):
            await consumer.subscribe(stream, callback)
    except StreamDoesNotExist as exc:
        raise BrokerUnavailable(f"There is no stream {stream!r} yet: `ingest serve` declares it.") from exc
    except ERRORS as exc:
        raise BrokerUnavailable(f"RabbitMQ's stream cannot be read: {text_of(exc)}") from exc


class OneConnectionConsumer(Consumer):
    """A consumer that does not reconnect after a loss."""

    async def maybe_restart_subscriber(self, reason: str, stream: str) -> None:
        """Do nothing: rstream calls this after a loss, which also ends the reader."""

    async def end(self, seconds: float) -> None:
        """Close all connections concurrently within `seconds`, as rstream takes a while for each."""
        self.stop()
        clients = [client for client in dict.fromkeys((*self._clients.values(), self._default_client)) if client]
        ended = await asyncio.gather(*(finished(client.close(), seconds) for client in clients))
        await asyncio.gather(*(abort(client) for client, done in zip(clients, ended, strict=True) if not done))

    async def ask_for(self, stream: str) -> None:
        """Ask the broker for the stream over the connection that reads it. Returns after the answer."""
        client = await self._get_or_create_client(stream)
        await client.stream_exists(stream)

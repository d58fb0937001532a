"""Reads a RabbitMQ stream from its beginning, and asks whether it is there; changes nothing."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Container, Sequence
from typing import Any

import msgspec
from rstream import Consumer, ConsumerOffsetSpecification, MessageContext, OffsetType, Producer, amqp_decoder
from rstream.exceptions import StreamDoesNotExist

from ingest.errors import BrokerUnavailable
from ingest.hosts import Rota
from ingest.publisher.amqp1 import message_id_of
from ingest.publisher.stream_address import ERRORS, StreamAddress, finished
from ingest.publisher.supervisor import text_of

log = logging.getLogger("ingest.publisher")

BUFFERED_MESSAGES_MAX = 1000
CLOSE_SECONDS = 2.0


class StreamMessage(msgspec.Struct, frozen=True):
    """`timestamp` is Unix time in seconds. What a message of another publisher lacks is empty."""

    message_id: str
    type: str
    timestamp: int
    body: bytes


async def read_streams(
    url: str, streams: Sequence[str], connect_timeout_seconds: float
) -> AsyncGenerator[StreamMessage, None]:
    """Their messages, each stream's oldest first, then those that come. Raises `BrokerUnavailable`."""
    arrived: asyncio.Queue[bytes | None] = asyncio.Queue(BUFFERED_MESSAGES_MAX)

    async def arrive(message: bytes, _: MessageContext) -> None:
        await arrived.put(message)

    async def lose(_: Any) -> None:
        await arrived.put(None)

    async def subscribed(address: StreamAddress) -> Consumer:
        consumer = _OneConnectionConsumer(**address.options(), on_close_handler=lose)
        try:
            for stream in streams:
                await _subscribe(consumer, stream, arrive, connect_timeout_seconds)
        except BaseException:
            await finished(consumer.close(), CLOSE_SECONDS)
            raise
        return consumer

    consumer = await Rota(StreamAddress.parse_each(url)).connected(subscribed)
    try:
        while (message := await arrived.get()) is not None:
            yield decoded(message)
        raise BrokerUnavailable("The connection to RabbitMQ was lost.")
    finally:
        await finished(consumer.close(), CLOSE_SECONDS)


async def find_ids(
    address: StreamAddress, stream: str, wanted: Container[int], since_ms: int, last_id: int, timeout_seconds: float
) -> set[int]:
    """Which of the wanted event ids the stream has between that Unix time and the event `last_id`.

    What is not found within `timeout_seconds`, or was dropped by the stream's own limits, is not there. Raises
    `BrokerUnavailable`.
    """
    found: set[int] = set()
    ended, lost = asyncio.Event(), asyncio.Event()

    def look(message: bytes, _: MessageContext) -> None:
        event_id = message_id_of(message)
        if event_id is not None and event_id in wanted:
            found.add(event_id)
        if event_id == last_id:
            ended.set()

    def lose(_: Any) -> None:
        lost.set()
        ended.set()

    consumer = _OneConnectionConsumer(**address.options(), on_close_handler=lose)
    try:
        async with asyncio.timeout(timeout_seconds):
            offset = ConsumerOffsetSpecification(OffsetType.TIMESTAMP, since_ms)
            await consumer.subscribe(stream, look, offset_specification=offset)
            await ended.wait()
            if lost.is_set():
                raise BrokerUnavailable("The connection to RabbitMQ was lost.")
    except TimeoutError:
        log.warning("a stream was not read to its end", extra={"stream": stream, "seconds": timeout_seconds})
    except ERRORS as exc:
        raise BrokerUnavailable(f"RabbitMQ's stream cannot be read: {text_of(exc)}") from exc
    finally:
        await finished(consumer.close(), CLOSE_SECONDS)
    return found


async def streams_exist(url: str, streams: Sequence[str], connect_timeout_seconds: float) -> bool:
    """Whether all are there. Raises `BrokerUnavailable` if it cannot be told."""

    async def ask(address: StreamAddress) -> bool:
        producer = Producer(**address.options())
        try:
            async with asyncio.timeout(connect_timeout_seconds):
                await producer.start()
                return all([await producer.stream_exists(stream) for stream in streams])
        finally:
            await finished(producer.close(), CLOSE_SECONDS)

    try:
        return await Rota(StreamAddress.parse_each(url)).connected(ask)
    except ERRORS as exc:
        raise BrokerUnavailable(text_of(exc)) from exc


def decoded(message: bytes) -> StreamMessage:
    """Bytes that are no AMQP 1.0 message become the body of one, as they are."""
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


class _OneConnectionConsumer(Consumer):
    async def maybe_restart_subscriber(self, reason: str, stream: str) -> None:
        """Called by rstream after a loss. Nothing: the reader ends with it."""

"""Reads a RabbitMQ stream; changes nothing."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Collection, Container, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from rstream import Consumer, ConsumerOffsetSpecification, MessageContext, OffsetType, amqp_decoder
from rstream.exceptions import StreamDoesNotExist

from ingest.errors import BrokerUnavailable
from ingest.hosts import Rota
from ingest.publisher.amqp1 import message_id_of
from ingest.publisher.stream_address import ERRORS, StreamAddress, abort, finished
from ingest.publisher.supervisor import text_of

log = logging.getLogger("ingest.publisher")

BUFFERED_MESSAGES_MAX = 1000
CLOSE_SECONDS = 2.0
CLOCKS_APART_MS = 10_000
"""How much the broker's clock and a node's may differ."""
QUIET_SECONDS = 2.0
"""A stream that sends nothing for so long may be at its end, or the broker may be frozen."""
QUIET_TIMES = 3
"""After so many such times, between which the broker has answered, it is the end."""
ANSWER_SECONDS = 5.0


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
    address: StreamAddress, stream: str, wanted: Container[int], created_ms: int, last_ids: Collection[int]
) -> set[int]:
    """Which of the wanted event ids, made from that Unix time on, the stream has up to the last of `last_ids`.

    What was dropped by the stream's own limits is not there; if one of `last_ids` is not, it is read to its end,
    however long it is: what has not been looked for must not be taken for missing. Raises `BrokerUnavailable`, also if
    it stops sending.
    """
    search = _Search(wanted, last_ids, until_ms=time.time_ns() // 1_000_000 + CLOCKS_APART_MS)
    consumer = _OneConnectionConsumer(**address.options(), on_close_handler=search.lose)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            offset = ConsumerOffsetSpecification(OffsetType.TIMESTAMP, created_ms - CLOCKS_APART_MS)
            await consumer.subscribe(stream, search.look, offset_specification=offset)
        while await search.goes_on():
            async with asyncio.timeout(ANSWER_SECONDS):
                await consumer.ask_for(stream)
    except ERRORS as exc:
        raise BrokerUnavailable(f"RabbitMQ's stream cannot be read: {text_of(exc)}") from exc
    finally:
        await consumer.end(CLOSE_SECONDS)
    if search.awaited:
        log.warning(
            "a stream has less than was published to it",
            extra={"stream": stream, "message_ids": sorted(search.awaited)},
        )
    return search.found


class _Search:
    """For ids among the messages of a stream, up to the last of `last_ids`, or to what came there after `until_ms`."""

    def __init__(self, wanted: Container[int], last_ids: Collection[int], until_ms: int) -> None:
        self.found: set[int] = set()
        self.awaited = set(last_ids)
        self._wanted = wanted
        self._until_ms = until_ms
        self._ended = asyncio.Event()
        self._lost = False
        self._looked_at = 0
        self._quiet_times = 0

    def look(self, message: bytes, context: MessageContext) -> None:
        self._looked_at += 1
        event_id = message_id_of(message)
        if event_id is not None:
            if event_id in self._wanted:
                self.found.add(event_id)
            self.awaited.discard(event_id)
        if not self.awaited or context.timestamp > self._until_ms:
            self._ended.set()

    def lose(self, _: Any) -> None:
        self._lost = True
        self._ended.set()

    async def goes_on(self) -> bool:
        """Nothing has come for a while, and it is not known whether that is the end: ask the broker, and call again.

        A broker that was frozen may answer before it sends what there is, so silence counts when it is repeated.
        """
        before = self._looked_at
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_SECONDS):
                await self._ended.wait()
        if self._lost:
            raise BrokerUnavailable("The connection to RabbitMQ was lost.")
        self._quiet_times = self._quiet_times + 1 if self._looked_at == before else 0
        return not self._ended.is_set() and self._quiet_times < QUIET_TIMES


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

    async def end(self, seconds: float) -> None:
        """Close within `seconds`: only the connections, and side by side, as each takes rstream a while."""
        self.stop()
        clients = [client for client in {*self._clients.values(), self._default_client} if client]
        ended = await asyncio.gather(*(finished(client.close(), seconds) for client in clients))
        await asyncio.gather(*(abort(client) for client, done in zip(clients, ended, strict=True) if not done))

    async def ask_for(self, stream: str) -> None:
        """Returns when the broker has answered, over the connection by which the stream is read."""
        client = await self._get_or_create_client(stream)
        await client.stream_exists(stream)

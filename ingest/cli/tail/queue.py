"""Prints the messages of RabbitMQ's queue: acknowledges them, or gives them back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiormq.exceptions
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage, AbstractQueue

from ingest.broker.amqp.connect import closing, connect
from ingest.broker.amqp.queue import major_version
from ingest.broker.amqp.reasons import of_connection, words_of
from ingest.cli.tail.printer import Printer
from ingest.errors import BrokerUnavailable
from ingest.settings import Settings, mask_url
from ingest.tasks import to_its_end

PREFETCH = 100
"""Messages that RabbitMQ sends before their acknowledgement."""
POLL_SECONDS = 0.1
ANSWER_SECONDS = 10.0
UNCOUNTED_NACK_SINCE = 4
"""From RabbitMQ 4 on, a quorum queue counts a delivery for a channel that closes, and none for a `nack`.

An older one counts both. Its `nack` also moves the messages to the end of the queue; a closed channel does not.
"""
LOST = (aiormq.exceptions.AMQPError, aiormq.exceptions.ChannelInvalidStateError)
"""Errors of a channel that ended."""


async def tail_queue(settings: Settings, printer: Printer) -> AsyncGenerator[None, None]:
    """Print and acknowledge each message. Raises `BrokerUnavailable`."""
    async with _connected(settings) as (_, queue):
        await queue.channel.set_qos(PREFETCH)
        async with queue.iterator() as messages:
            async for message in messages:
                _print(message, printer)
                await message.ack()
                yield


async def tail_key(settings: Settings, printer: Printer, pattern: str) -> AsyncGenerator[None, None]:
    """Print copies of the messages whose routing key matches, from now on. Raises `BrokerUnavailable`.

    They come over a queue of its own, which ends with the connection.
    """
    async with _connected(settings) as (_, queue):
        try:
            own = await queue.channel.declare_queue(exclusive=True)
            await own.bind(settings.exchange, pattern)
        except LOST as exc:
            raise BrokerUnavailable(
                f"No queue can be bound to the exchange {settings.exchange}: {words_of(exc)}"
            ) from exc
        async with own.iterator(no_ack=True) as messages:
            async for message in messages:
                _print(message, printer)
                yield


async def tail_kept_queue(settings: Settings, printer: Printer) -> AsyncGenerator[None, None]:
    """Print each message. The messages are in the queue again when the caller ends. Raises `BrokerUnavailable`."""
    async with _connected(settings) as (connection, queue):
        try:
            while True:
                message = await _next(queue)
                if message is None:
                    await asyncio.sleep(POLL_SECONDS)
                    continue
                _print(message, printer)
                yield
        finally:
            if major_version(connection) >= UNCOUNTED_NACK_SINCE:
                await _give_back(queue)


async def _next(queue: AbstractQueue) -> AbstractIncomingMessage | None:
    """Get a message, or None if the queue is empty. Raises `BrokerUnavailable`.

    A `get` that is cancelled on its way makes aiormq close the channel, and the connection then may never end.
    """
    try:
        return await to_its_end(queue.get(fail=False, timeout=ANSWER_SECONDS))
    except TimeoutError as exc:
        raise BrokerUnavailable(f"RabbitMQ did not answer within {ANSWER_SECONDS:g} s.") from exc


async def _give_back(queue: AbstractQueue) -> None:
    """Return all messages that the channel holds, by a `nack`."""
    with suppress(*LOST):  # a lost channel has returned them
        channel = await queue.channel.get_underlay_channel()
        await channel.basic_nack(0, multiple=True, requeue=True)  # tag 0 stands for all


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[tuple[AbstractConnection, AbstractQueue]]:
    try:
        connection = await connect(settings.broker_url, settings.connect_timeout_seconds)
    except (OSError, TimeoutError, aiormq.exceptions.AMQPError) as exc:
        raise BrokerUnavailable(f"{mask_url(settings.broker_url)} cannot be reached: {words_of(exc)}") from exc
    async with closing(connection):
        ended = connection.transport.connection.closing if connection.transport else None
        channel = await connection.channel()
        try:
            queue = await channel.declare_queue(settings.queue, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity as exc:
            raise BrokerUnavailable(f"There is no queue {settings.queue!r} yet: `ingest serve` declares it.") from exc
        with suppress(*LOST):
            yield connection, queue
        # The iterator of aio-pika ends without an error, whatever the reason.
        closed = of_connection(ended.exception()) if ended and ended.done() and not ended.cancelled() else None
        raise BrokerUnavailable(
            f"RabbitMQ delivers no more: {closed or 'the queue was deleted, or the connection was lost'}."
        )


def _print(message: AbstractIncomingMessage, printer: Printer) -> None:
    timestamp = int(message.timestamp.timestamp()) if message.timestamp else 0
    routing_key = message.routing_key if message.exchange else None
    printer.line(message.message_id or "", message.type or "", timestamp, message.body, routing_key)

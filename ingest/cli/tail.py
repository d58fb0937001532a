"""The command `ingest tail`: prints each message as one line, then acknowledges it."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiormq.exceptions
import click

from ingest.broker.amqp.connect import connect
from ingest.broker.amqp.reasons import of_connection, words_of
from ingest.broker.embedded import FILE_NAME, EmbeddedQueue
from ingest.broker.stream.partitions import partition_names
from ingest.broker.stream.reader import read_streams
from ingest.cli.shell.output import json_line, say, warn
from ingest.cli.shell.parameters import seconds
from ingest.cli.shell.targets import OTHER_SETTINGS, using
from ingest.errors import BrokerUnavailable, SettingsError
from ingest.server.file_owner import act_as_owner
from ingest.settings import Settings, mask_url

POLL_SECONDS = 0.1
PREFETCH = 100


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="Exit after this many messages.")
@click.option("--timeout", type=seconds(), help="Exit if no message arrives for this many seconds.")
@click.option("--properties", is_flag=True, help="Print message_id, type and timestamp too; the event is `body`.")
@using("broker")
def tail(settings: Settings, limit: int | None, timeout: float | None, properties: bool) -> None:
    """Consume the queue: print each message as one JSON line and acknowledge it.

    A stream keeps its messages; the command prints them from the beginning. The exit code is 1 if fewer messages than
    --limit arrived.
    """
    act_as_owner(settings, folder=settings.broker_url == "embedded:")
    try:
        count = _tail(settings, limit, timeout, Printer(properties))
    except KeyboardInterrupt:
        return
    if limit is not None and count < limit:
        warn(f"ingest: {count} of {limit} messages arrived within {timeout:g} s.")
        sys.exit(1)


class Printer:
    """Prints a message as one line: its body, with `properties` inside an object that has the message's properties."""

    def __init__(self, properties: bool) -> None:
        self._properties = properties

    def line(self, message_id: str, kind: str, timestamp: int, body: bytes) -> None:
        text = json_line(body.decode(errors="replace"))
        if self._properties:
            head = json.dumps({"message_id": message_id, "type": kind, "timestamp": timestamp})
            text = f'{head[:-1]}, "body": {text}}}'
        say(text)


def _tail(settings: Settings, limit: int | None, timeout: float | None, printer: Printer) -> int:
    """Print messages until the limit or the timeout; return their number."""
    if settings.publish_to == "stream":
        return asyncio.run(_take(_stream(settings, printer), limit, timeout))
    if settings.broker_url == "embedded:":
        return _tail_embedded(settings, limit, timeout, printer)
    return asyncio.run(_take(_queue(settings, printer), limit, timeout))


def _tail_embedded(settings: Settings, limit: int | None, timeout: float | None, printer: Printer) -> int:
    file = settings.data_dir / FILE_NAME
    if not file.exists():
        raise SettingsError(f"{file.absolute()}: there is no queue yet; `ingest serve` creates it. {OTHER_SETTINGS}")
    queue = EmbeddedQueue(file, settings.commit_timeout_seconds)
    count, last = 0, time.monotonic()
    try:
        while limit is None or count < limit:
            messages = queue.oldest(min(PREFETCH, limit - count) if limit else PREFETCH)
            for message in messages:
                printer.line(str(message.message_id), message.type, message.timestamp, message.body)
                queue.acknowledge(message)
            count += len(messages)
            now = time.monotonic()
            if messages:
                last = now
            elif timeout is not None and now - last >= timeout:
                break
            else:
                time.sleep(POLL_SECONDS)
    finally:
        queue.close()
    return count


async def _take(messages: AsyncIterator[Any], limit: int | None, timeout: float | None) -> int:
    """Consume `limit` messages, or stop when none arrives for `timeout` seconds."""
    count = 0
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        while limit is None or count < limit:
            async with asyncio.timeout(timeout):
                await anext(messages)
            count += 1
    return count


async def _queue(settings: Settings, printer: Printer) -> AsyncIterator[None]:
    try:
        connection = await connect(settings.broker_url, settings.connect_timeout_seconds)
    except (OSError, TimeoutError, aiormq.exceptions.AMQPError) as exc:
        raise BrokerUnavailable(f"{mask_url(settings.broker_url)} cannot be reached: {words_of(exc)}") from exc
    async with connection:
        ended = connection.transport.connection.closing if connection.transport else None
        channel = await connection.channel()
        await channel.set_qos(PREFETCH)
        try:
            queue = await channel.declare_queue(settings.queue, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity as exc:
            raise BrokerUnavailable(f"There is no queue {settings.queue!r} yet: `ingest serve` declares it.") from exc
        async with queue.iterator() as messages:
            async for message in messages:
                timestamp = int(message.timestamp.timestamp()) if message.timestamp else 0
                printer.line(message.message_id or "", message.type or "", timestamp, message.body)
                await message.ack()
                yield
        # The iterator ends without an error, whatever the reason.
        closed = of_connection(ended.exception()) if ended and ended.done() and not ended.cancelled() else None
        raise BrokerUnavailable(
            f"RabbitMQ delivers no more: {closed or 'the queue was deleted, or the connection was lost'}."
        )


async def _stream(settings: Settings, printer: Printer) -> AsyncIterator[None]:
    """Print the stream, or all its partitions, from the beginning. Reading removes nothing from a stream."""
    streams = partition_names(settings.queue, settings.stream_partitions)
    messages = read_streams(settings.stream_url, streams, settings.connect_timeout_seconds)
    async with contextlib.aclosing(messages):
        async for message in messages:
            printer.line(message.message_id, message.type, message.timestamp, message.body)
            yield

"""The command `ingest tail`: prints each message as one line, then acknowledges it or keeps it."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator

import click

from ingest.broker.stream.partitions import partition_names
from ingest.broker.stream.reader import read_streams
from ingest.cli.shell.output import warn
from ingest.cli.shell.parameters import seconds
from ingest.cli.shell.targets import using
from ingest.cli.tail.embedded import tail_embedded
from ingest.cli.tail.printer import Printer
from ingest.cli.tail.queue import tail_kept_queue, tail_key, tail_queue
from ingest.errors import SettingsError
from ingest.interrupts import run_main
from ingest.server.file_owner import act_as_owner
from ingest.settings import Settings

HELD_MAX = 1000
"""Messages of RabbitMQ that `--keep` holds without a `--limit`. Other consumers wait for them meanwhile."""


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="Exit after this many messages.")
@click.option("--timeout", type=seconds(), help="Exit if no message arrives for this many seconds.")
@click.option("--properties", is_flag=True, help="Print message_id, type and timestamp too; the event is `body`.")
@click.option("--keep", is_flag=True, help="Leave the messages in the queue.")
@click.option("--key", metavar="PATTERN", help="Print copies of new messages with such a routing key.")
@using("broker")
def tail(
    settings: Settings, limit: int | None, timeout: float | None, properties: bool, keep: bool, key: str | None
) -> None:
    """Consume the queue: print each message as one JSON line and acknowledge it.

    The exit code is 1 if fewer messages than --limit arrived.

    With --keep the messages stay in the queue. RabbitMQ hands them out again when the command ends, marked as
    redelivered. It ends at 1,000 messages if there is no --limit. A quorum queue of RabbitMQ 3 counts a delivery of
    each, against a delivery limit.

    With --key, such as `call_ended` or `*.kamailio`, it prints copies of the messages that INGEST_EXCHANGE routes from
    now on. It takes none off the queue.

    A stream keeps its messages; the command prints them from the beginning.
    """
    if key is not None and not settings.exchange:
        raise SettingsError("--key needs INGEST_EXCHANGE: a queue alone has no keys.")
    act_as_owner(settings, folder=settings.broker_url == "embedded:")
    try:
        count = _tail(settings, limit, timeout, Printer(properties), key, keep=keep)
    except KeyboardInterrupt:
        return
    if limit is not None and count < limit:
        warn(f"ingest: {count} of {limit} messages arrived within {timeout:g} s.")
        sys.exit(1)


def _tail(
    settings: Settings, limit: int | None, timeout: float | None, printer: Printer, key: str | None, *, keep: bool
) -> int:
    """Print messages until the limit or the timeout; return their number."""
    if key is not None:
        return run_main(_take(tail_key(settings, printer, key), limit, timeout))
    if settings.publish_to == "stream":
        return run_main(_take(_tail_stream(settings, printer), limit, timeout))
    if settings.broker_url == "embedded:":
        return tail_embedded(settings, limit, timeout, printer, keep=keep)
    if not keep:
        return run_main(_take(tail_queue(settings, printer), limit, timeout))
    count = run_main(_take(tail_kept_queue(settings, printer), limit or HELD_MAX, timeout))
    if limit is None and count == HELD_MAX:
        warn(f"ingest: --keep ends at {HELD_MAX:,} messages. Give --limit to read more.")
    return count


async def _take(messages: AsyncGenerator[None, None], limit: int | None, timeout: float | None) -> int:
    """Consume `limit` messages, or stop when none arrives for `timeout` seconds."""
    count = 0
    async with contextlib.aclosing(messages):  # connections close before the event loop ends
        with contextlib.suppress(TimeoutError, StopAsyncIteration):
            while limit is None or count < limit:
                async with asyncio.timeout(timeout):
                    await anext(messages)
                count += 1
    return count


async def _tail_stream(settings: Settings, printer: Printer) -> AsyncGenerator[None, None]:
    """Print the stream, or all its partitions, from the beginning. Reading removes nothing from a stream."""
    streams = partition_names(settings.queue, settings.stream_partitions)
    messages = read_streams(settings.stream_url, streams, settings.connect_timeout_seconds)
    async with contextlib.aclosing(messages):
        async for message in messages:
            printer.line(message.message_id, message.type, message.timestamp, message.body)
            yield

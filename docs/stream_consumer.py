"""An example consumer of a stream: it stores its offset, and parks an event that it cannot handle.

    pip install rstream && python stream_consumer.py rabbitmq-stream://guest:guest@localhost:5552/

The second argument is the number of partitions, as in INGEST_STREAM_PARTITIONS (1 if it is missing). Start as many
consumers as you like. RabbitMQ (3.11 or later) gives each partition to one of them, and to another one when that one
ends. The events of a call are therefore handled one after the other, in the order of their answers. An older RabbitMQ
sends everything to each consumer.

The next consumer handles events again that came after the last stored offset. If your work must never happen twice,
store the offset in your database, in the transaction of the work.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rstream import (
    AMQPMessage,
    Consumer,
    ConsumerOffsetSpecification,
    EventContext,
    MessageContext,
    OffsetType,
    amqp_decoder,
)
from rstream.exceptions import OffsetNotFound
from rstream.schema import OffsetSpecification

STREAM = "call-events"
GROUP = "example"
"""Consumers with the same name share the partitions and the offsets. Another application needs another name."""
STORED_EVERY = 1000
"""Messages of a partition between two stored offsets."""
TRIES = 5
PAUSE_SECONDS = 1.0
"""Before an event is tried again."""
PARKED = Path("parked.ndjson")

Handle = Callable[[dict[str, object]], Awaitable[None]]


class Partitions:
    """Handles messages, and stores the offset of the last one handled in each partition."""

    def __init__(
        self,
        handle: Handle,
        stored_every: int = STORED_EVERY,
        pause_seconds: float = PAUSE_SECONDS,
        parked: Path = PARKED,
    ) -> None:
        self._handle = handle
        self._stored_every = stored_every
        self._pause_seconds = pause_seconds
        self._parked = parked

    async def take(self, message: AMQPMessage, context: MessageContext) -> None:
        """Must not raise: rstream would log the exception and leave out the other messages that came with this one."""
        for _ in range(TRIES):
            try:
                await self._handle(json.loads(message.body))
                break
            except Exception as exc:
                print(f"offset {context.offset} of {context.stream}: {exc!r}", file=sys.stderr, flush=True)
                await asyncio.sleep(self._pause_seconds)
        else:
            with self._parked.open("ab") as file:
                file.write(b" ".join(bytes(message.body).splitlines()) + b"\n")
        if context.offset % self._stored_every == 0:
            await context.consumer.store_offset(context.stream, GROUP, context.offset)

    async def resume(self, active: bool, context: EventContext) -> OffsetSpecification:
        """The offset at which to continue when this consumer becomes a partition's active one."""
        if not active:
            return OffsetSpecification(OffsetType.NEXT, 0)
        begin = await stored(context.consumer, context.stream)
        return OffsetSpecification(begin.offset_type, begin.offset or 0)


async def stored(consumer: Consumer, stream: str) -> ConsumerOffsetSpecification:
    """Where to continue: after the stored offset, or at the begin of the stream."""
    try:
        return ConsumerOffsetSpecification(OffsetType.OFFSET, await consumer.query_offset(stream, GROUP) + 1)
    except OffsetNotFound:
        return ConsumerOffsetSpecification(OffsetType.FIRST, None)


async def consume(url: str, stream: str, partitions: Partitions, count: int = 1) -> None:
    """Consume until cancelled. With one partition the stream has its plain name; more of them make a super stream."""
    parts = urlsplit(url)
    properties = {"single-active-consumer": "true", "name": GROUP}
    if count > 1:
        properties["super-stream"] = stream
    consumer = Consumer(
        host=parts.hostname or "localhost",
        port=parts.port or 5552,
        username=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        vhost=unquote(parts.path[1:]) or "/",
    )
    async with consumer:
        for name in [stream] if count == 1 else [f"{stream}-{number}" for number in range(count)]:
            await consumer.subscribe(
                name,
                partitions.take,
                decoder=amqp_decoder,
                properties=properties,
                subscriber_name=GROUP,
                offset_specification=await stored(consumer, name),
                consumer_update_listener=partitions.resume,
            )
        await consumer.run()


async def show(event: dict[str, object]) -> None:
    print(event["call_id"], event["event_type"], event["timestamp"], flush=True)


if __name__ == "__main__":
    given = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    asyncio.run(consume(sys.argv[1], STREAM, Partitions(show), given))

"""An example consumer of a stream in partitions: each partition has one active consumer, which stores its offset.

    pip install rstream && python stream_consumer.py rabbitmq-stream://guest:guest@localhost:5552/

Start as many as you like. RabbitMQ (3.11 or later) gives each partition to one of them, and to another one when that
one ends. The events of a call are therefore handled one after the other, in the order of their answers. The next
consumer handles events again that came after the last stored offset. If your work must never happen twice, store the
offset in your database, in the transaction of the work.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

from rstream import AMQPMessage, EventContext, MessageContext, OffsetType, SuperStreamConsumer, amqp_decoder
from rstream.exceptions import OffsetNotFound
from rstream.schema import OffsetSpecification

STREAM = "call-events"
GROUP = "example"
"""Consumers with the same name share the partitions and the offsets."""
STORED_EVERY = 1000
"""Messages of a partition between two stored offsets."""

Handle = Callable[[dict[str, object]], Awaitable[None]]


class Partitions:
    """Handles messages, and stores the offset of the last one handled in each partition."""

    def __init__(self, handle: Handle, stored_every: int = STORED_EVERY) -> None:
        self._handle = handle
        self._stored_every = stored_every

    async def take(self, message: AMQPMessage, context: MessageContext) -> None:
        await self._handle(json.loads(message.body))
        if context.offset % self._stored_every == 0:
            await context.consumer.store_offset(context.stream, GROUP, context.offset)

    async def resume(self, active: bool, context: EventContext) -> OffsetSpecification:
        """The offset at which to continue when this consumer becomes a partition's active one."""
        if not active:
            return OffsetSpecification(OffsetType.NEXT, 0)
        try:
            stored = await context.consumer.query_offset(context.stream, GROUP)
        except OffsetNotFound:
            return OffsetSpecification(OffsetType.FIRST, 0)
        return OffsetSpecification(OffsetType.OFFSET, stored + 1)


async def consume(url: str, super_stream: str, partitions: Partitions) -> None:
    """Consume until cancelled."""
    parts = urlsplit(url)
    consumer = SuperStreamConsumer(
        host=parts.hostname or "localhost",
        port=parts.port or 5552,
        username=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        super_stream=super_stream,
    )
    async with consumer:
        await consumer.subscribe(
            partitions.take,
            decoder=amqp_decoder,
            properties={"single-active-consumer": "true", "name": GROUP, "super-stream": super_stream},
            subscriber_name=GROUP,
            consumer_update_listener=partitions.resume,
        )
        await consumer.run()


async def show(event: dict[str, object]) -> None:
    print(event["call_id"], event["event_type"], event["timestamp"], flush=True)


if __name__ == "__main__":
    asyncio.run(consume(sys.argv[1], STREAM, Partitions(show)))

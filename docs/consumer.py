"""An example consumer: it discards duplicates, acknowledges handled events, and returns an event that it cannot handle.

    pip install aio-pika && python consumer.py amqp://guest:guest@localhost/

Every event comes at least once. A duplicate has the `message_id` of the first message, and follows within seconds of
the broker's or a worker's return. So it is enough to remember recent ids. This process forgets them when it is killed.
If your work must never happen twice, store the id in your database, in the transaction of the work.

docs/consumers.md has the policy with which RabbitMQ parks an event that was returned too often.
"""

import asyncio
import json
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

QUEUE = "call-events"
PARKED = "call-events.parked"
"""The exchange and the queue of events that were returned too often."""
PREFETCH = 500
"""Messages that RabbitMQ sends before their acknowledgement."""
PAUSE_SECONDS = 1.0
"""Before an event is returned. It must not come again at once."""
REMEMBERED_MAX = 1_000_000
"""Ids; they take about 160 MB. At 10,000 events a second they cover the last 100 s."""

Handle = Callable[[dict[str, object]], Awaitable[None]]


class Seen:
    """Remembers the newest ids."""

    def __init__(self, ids_max: int = REMEMBERED_MAX) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._ids_max = ids_max

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._ids

    def add(self, message_id: str) -> None:
        self._ids[message_id] = None
        if len(self._ids) > self._ids_max:
            self._ids.popitem(last=False)


async def consume(url: str, queue_name: str, handle: Handle) -> None:
    """Consume until cancelled. Acknowledge a message after `handle` returns; give it back if it raises."""
    seen = Seen()
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        await declare_parked(channel)
        queue = await channel.get_queue(queue_name)  # the service declares it
        async with queue.iterator() as messages:
            async for message in messages:
                await take(message, seen, handle)


async def declare_parked(channel: AbstractChannel) -> None:
    exchange = await channel.declare_exchange(PARKED, "fanout", durable=True)
    queue = await channel.declare_queue(PARKED, durable=True, arguments={"x-queue-type": "quorum"})
    await queue.bind(exchange)


async def take(message: AbstractIncomingMessage, seen: Seen, handle: Handle) -> None:
    if message.message_id is not None and message.message_id in seen:
        await message.ack()
        return
    try:
        await handle(json.loads(message.body))
    except Exception as exc:
        print(f"event {message.message_id}: {exc!r}", file=sys.stderr, flush=True)
        await asyncio.sleep(PAUSE_SECONDS)
        await message.reject(requeue=True)  # `nack` would not count against the delivery limit of RabbitMQ 4
        return
    if message.message_id is not None:
        seen.add(message.message_id)
    await message.ack()


async def show(event: dict[str, object]) -> None:
    print(event["call_id"], event["event_type"], event["timestamp"], flush=True)


if __name__ == "__main__":
    asyncio.run(consume(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else QUEUE, show))

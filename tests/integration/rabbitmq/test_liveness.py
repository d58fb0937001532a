"""aiormq closes a connection on which nothing comes, and only such a one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from ingest.broker.amqp.channel import ConfirmingChannel
from ingest.broker.amqp.connect import ConfirmingConnection, open_connection
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.events.routing_key import Destination
from tests.contract.broker.publishers import Queue, removed
from tests.faults.harness.wire import Wire
from tests.services import RabbitMQServer
from tests.unit.making import batch

HEARTBEAT_SECONDS = 2
"""RabbitMQ closes a connection that is silent for twice this time. A busy machine is not."""
STUCK_SECONDS = 3 * (HEARTBEAT_SECONDS + 1)
"""aiormq's limit for a connection without a frame."""
PAUSE_SECONDS = 0.1
"""RabbitMQ sends no heartbeat while it sends confirms as often."""
pytestmark = pytest.mark.servers


@pytest.fixture
async def queue(rabbitmq: RabbitMQServer) -> AsyncIterator[Queue]:
    queue = Queue(rabbitmq, "classic")
    async with removed(queue):
        yield queue


async def opened(url: str, name: str) -> tuple[ConfirmingConnection, ConfirmingChannel]:
    connection = await open_connection(url, heartbeat=HEARTBEAT_SECONDS)
    await QueueDeclaration(name, "classic").declare(connection)
    return connection, await ConfirmingChannel.open(connection, Destination.of_queue(name), 1)


async def confirmed(channel: ConfirmingChannel) -> None:
    pending = await channel.write(batch(1))
    assert pending
    await pending.done


async def test_connection_with_confirms_alone_stays_open(queue: Queue) -> None:
    connection, channel = await opened(queue.url, queue.name)
    async with connection:
        with suppress(TimeoutError):
            async with asyncio.timeout(STUCK_SECONDS + 2 * HEARTBEAT_SECONDS):
                while not channel.ended.done():
                    await confirmed(channel)
                    await asyncio.sleep(PAUSE_SECONDS)
        await confirmed(channel)


async def test_silent_connection_is_closed(queue: Queue) -> None:
    with Wire(queue.url) as wire:
        connection, channel = await opened(wire.url, queue.name)
        await confirmed(channel)
        with wire.swallowing():
            await asyncio.wait_for(asyncio.wait([channel.ended]), 3 * STUCK_SECONDS)
        await connection.close()

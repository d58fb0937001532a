"""A super stream is declared as a whole, and its missing parts are restored: consumers find every partition."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from ingest.broker.stream.address import StreamAddress
from ingest.broker.stream.node import StreamNode
from ingest.broker.stream.topology import StreamTopology, look_at
from ingest.files.exclusive_lock import ExclusiveLock, file_lock
from ingest.store.mysql.lock import mysql_lock
from ingest.store.mysql.pool import Servers
from tests.contract.broker.publishers import SuperStream, channel_to, publishing, removed, until
from tests.faults.reading import version_numbers
from tests.services import MySQLServer, RabbitMQServer
from tests.unit.making import batch, event, events

PARTITIONS = 3
WORKERS = 4
FIRST_STARTS = 5
pytestmark = pytest.mark.servers


@pytest.fixture
async def super_stream(rabbitmq: RabbitMQServer) -> AsyncIterator[SuperStream]:
    made = SuperStream(rabbitmq, PARTITIONS)
    async with removed(made):
        yield made


async def listed(super_stream: SuperStream) -> Sequence[str]:
    """Return the partitions that a consumer finds."""
    address = StreamAddress.parse(super_stream.url)
    node = await StreamNode.open(address, address.host, address.port, lambda _: None)
    try:
        return await node.client.partitions(super_stream.name)
    finally:
        await node.end(1.0, broken=False)


@pytest.fixture(params=["file", "mysql"])
def exclusively(request: pytest.FixtureRequest, tmp_path: Path) -> ExclusiveLock:
    if request.param == "file":
        return file_lock(tmp_path / "streams.lock")
    mysql: MySQLServer = request.getfixturevalue("mysql")
    return mysql_lock(Servers.parse(mysql.fresh_database()), "streams", 3.0)


async def test_workers_that_start_at_once_declare_all_partitions(
    rabbitmq: RabbitMQServer, exclusively: ExclusiveLock
) -> None:
    """They use the stream protocol if the broker can: one worker's create used to undo another's."""
    by_command = version_numbers(rabbitmq.amqp_url) >= (3, 13)
    for _ in range(FIRST_STARTS):
        made = SuperStream(rabbitmq, PARTITIONS, amqp=not by_command)
        async with removed(made), AsyncExitStack() as stack:
            made.topology = msgspec.structs.replace(made.topology, exclusively=exclusively)
            publishers = [made.publisher() for _ in range(WORKERS)]
            await asyncio.gather(*(stack.enter_async_context(publishing(publisher)) for publisher in publishers))
            assert await listed(made) == made.topology.streams


async def test_deleted_partition_is_declared_and_bound_again(super_stream: SuperStream) -> None:
    async with publishing(super_stream.publisher()) as publisher:
        with channel_to(super_stream.amqp_url) as channel:
            channel.queue_delete(super_stream.topology.streams[1])
        await until(lambda: not publisher.ready)
        await until(lambda: publisher.ready)
        assert await listed(super_stream) == super_stream.topology.streams
        await publisher.publish(batch([event(f"call-{number}") for number in range(9)]))


async def test_binding_that_goes_while_the_service_runs_is_made_again(super_stream: SuperStream) -> None:
    """RabbitMQ does not report it, so the publisher checks."""
    async with publishing(super_stream.publisher(look_seconds=0.2)) as publisher:
        with channel_to(super_stream.amqp_url) as channel:
            channel.queue_unbind(super_stream.topology.streams[2], super_stream.name, "2")
            channel.exchange_delete(super_stream.name)
        await until(lambda: not publisher.ready)
        await until(lambda: publisher.ready)
        assert await listed(super_stream) == super_stream.topology.streams


async def test_added_partition_is_bound(super_stream: SuperStream, rabbitmq: RabbitMQServer) -> None:
    async with publishing(super_stream.publisher()):
        pass
    larger = SuperStream(rabbitmq, PARTITIONS + 1)
    larger.name = super_stream.name
    larger.topology = StreamTopology(super_stream.name, PARTITIONS + 1, amqp_url=rabbitmq.amqp_url)
    async with removed(larger), publishing(larger.publisher()) as publisher:
        assert await listed(larger) == larger.topology.streams
        await publisher.publish(batch(events(9)))


async def test_nothing_is_published_to_a_partition_that_consumers_cannot_find(rabbitmq: RabbitMQServer) -> None:
    """Only AMQP can bind an existing stream. Otherwise the events wait, and the reason says what to do."""
    whole = SuperStream(rabbitmq, PARTITIONS)
    alone = SuperStream(rabbitmq, PARTITIONS, amqp=False)
    alone.name, alone.topology = whole.name, StreamTopology(whole.name, PARTITIONS)
    async with removed(whole):
        async with publishing(whole.publisher()):
            pass
        with channel_to(whole.amqp_url) as channel:
            channel.queue_delete(whole.topology.streams[1])
        gone = [whole.topology.streams[1]]
        found = await look_at(whole.url, alone.topology, 3.0)
        assert (found.absent, found.unbound) == (gone, gone)
        publisher = alone.publisher()
        await publisher.start()
        try:
            await until(lambda: whole.topology.streams[1] in (publisher.problem or ""))
            assert "INGEST_BROKER_URL" in (publisher.problem or "")
            assert not publisher.ready
        finally:
            await publisher.close()
        async with publishing(whole.publisher()):  # this publisher can bind it
            assert await listed(whole) == whole.topology.streams

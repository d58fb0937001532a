"""Publishers with RabbitMQ: full, deleted and foreign queues and streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from rstream import Producer

from ingest.broker.amqp.frames import FRAME_BYTES_MAX as AMQP_FRAME_BYTES_MAX
from ingest.broker.base import Publisher
from ingest.broker.stream.partitions import partition_of
from ingest.broker.stream.publisher import StreamPublisher
from ingest.broker.stream.topology import StreamTopology
from ingest.errors import NotConfirmed
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.telemetry.connection_metrics import NO_OBSERVER
from tests.contract.broker.publishers import (
    LIMITS,
    Queue,
    Stream,
    SuperStream,
    all_of,
    publishing,
    removed,
    until,
)
from tests.contract.broker.simulated import SimulatedQueue, SimulatedStream
from tests.faults.reading import version_numbers
from tests.services import RabbitMQServer
from tests.services.rabbitmq_operator import arguments_of_queues
from tests.unit.making import NOW_US, batch, event, events

EXISTS_OTHERWISE = "RabbitMQ's queue exists with other arguments; it is used as it is"
QUEUE_MAX = 3
FRAME_BYTES_MAX = 1_048_576
"""RabbitMQ's default `stream.frame_max`."""
AnyQueue = Queue | SimulatedQueue


def on_servers(*kinds: str) -> list[Any]:
    return [pytest.param(kind, marks=pytest.mark.servers) for kind in kinds]


def made(kind: str, request: pytest.FixtureRequest) -> AnyQueue:
    """`kind` has `simulated ` before the queue's kind for the model."""
    if kind.startswith("simulated"):
        return SimulatedQueue(kind.split()[1])
    return Queue(request.getfixturevalue("rabbitmq"), kind)


@pytest.fixture(params=["simulated quorum", *on_servers("quorum", "classic")])
async def queue(request: pytest.FixtureRequest) -> AsyncIterator[AnyQueue]:
    queue = made(request.param, request)
    async with removed(queue):
        yield queue


@pytest.fixture(params=["simulated classic", *on_servers("classic")])
async def full_queue(request: pytest.FixtureRequest) -> AsyncIterator[AnyQueue]:
    """Accepts `QUEUE_MAX` messages and refuses more. It is a classic queue, because a quorum queue counts roughly."""
    queue = made(request.param, request)
    async with removed(queue):
        queue.declare({"x-max-length": QUEUE_MAX, "x-overflow": "reject-publish"})
        yield queue


@pytest.fixture(params=["simulated", *on_servers("real")])
async def stream(request: pytest.FixtureRequest) -> AsyncIterator[Stream]:
    simulated = request.param == "simulated"
    stream = SimulatedStream() if simulated else Stream(request.getfixturevalue("rabbitmq"))
    async with removed(stream):
        yield stream


async def test_deleted_queue_is_declared_again_and_gets_the_batch_that_found_it_gone(queue: AnyQueue) -> None:
    async with publishing(queue.publisher()) as publisher:
        await publisher.publish(batch(2))
        await queue.delete()
        returned = [batch(20, us=NOW_US + number * 1000) for number in range(5)]
        await asyncio.gather(
            *(publisher.publish(each, priority) for each in returned for priority in ("live", "relay"))
        )
        found = await queue.received(200)
        assert {m.message_id for m in found} == _ids(*returned)
        assert all(m.persistent for m in found)


async def test_large_messages_that_come_back_are_published_again(queue: AnyQueue) -> None:
    bodies = [b'"%b"' % (b"x" * size) for size in (10, 3 * AMQP_FRAME_BYTES_MAX, 20)]
    async with publishing(queue.publisher()) as publisher:
        await queue.delete()
        await publisher.publish(batch([Event("call-1", "call_started", body) for body in bodies]))
        assert [m.body for m in await queue.received(3)] == bodies


async def test_queue_with_other_arguments_is_used_as_it_is_with_one_warning(
    queue: AnyQueue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.declare({"x-max-length": 1000})
    async with publishing(queue.publisher()) as publisher:
        published = [batch(3, us=NOW_US + number * 1000) for number in range(3)]
        for each in published:
            await publisher.publish(each)
        assert {m.message_id for m in await queue.received(9)} == _ids(*published)
        assert publisher.ready
    assert [r.message for r in caplog.records if r.name == "ingest.publisher" and r.levelname == "WARNING"] == [
        EXISTS_OTHERWISE
    ]


async def test_full_queue_names_the_positions_that_it_refused(full_queue: AnyQueue) -> None:
    async with publishing(full_queue.publisher()) as publisher:
        published = batch(5)
        assert await _refused(publisher, published) == [3, 4]
        assert [m.message_id for m in await full_queue.received(3)] == [str(i) for i in published.ids[:3]]
        assert publisher.ready


async def test_refused_messages_are_tried_again_before_they_are_given_up(full_queue: AnyQueue) -> None:
    async with publishing(full_queue.publisher()) as publisher:
        published = batch(5)
        publish = asyncio.create_task(publisher.publish(published))
        found = await full_queue.read(all_of(map(str, published.ids)))
        await publish
        assert len(found) == 5  # accepted messages were not sent again


async def test_refused_batch_does_not_delay_later_ones(full_queue: AnyQueue) -> None:
    async with publishing(full_queue.publisher()) as publisher:
        first, second = batch(4), batch(3, us=NOW_US + 1000)
        assert await _refused(publisher, first) == [3]
        await full_queue.received(3)
        await publisher.publish(second)
        assert {m.message_id for m in await full_queue.received(3)} == _ids(second)


async def test_deleted_stream_is_declared_again(stream: Stream) -> None:
    async with publishing(stream.publisher()) as publisher:
        await publisher.publish(batch(2))
        await stream.delete()
        await until(lambda: not publisher.ready)
        await until(lambda: publisher.ready)
        await publisher.publish(batch(3))
        assert {m.message_id for m in await stream.received(3)} == _ids(batch(3))


async def test_stream_with_other_arguments_is_used_as_it_is(stream: Stream) -> None:
    async with Producer(**stream.options) as producer:
        await producer.create_stream(stream.name, {"max-length-bytes": 100_000_000})
    async with publishing(stream.publisher()) as publisher:
        await publisher.publish(batch(3))
        assert len(await stream.received(3)) == 3


@pytest.mark.parametrize("stream", on_servers("real"), indirect=True)
@pytest.mark.parametrize("full_queue", on_servers("classic"), indirect=True)
async def test_queue_in_the_place_of_the_stream_is_named_as_the_problem(stream: Stream, full_queue: AnyQueue) -> None:
    stream.name = full_queue.name
    publisher = stream.publisher()
    await publisher.start()
    try:
        await until(lambda: "a queue may have its name" in (publisher.problem or ""))
    finally:
        await publisher.close()


async def test_message_too_large_for_a_frame_is_refused_and_the_others_are_there(stream: Stream) -> None:
    sizes = [10, FRAME_BYTES_MAX - 300, FRAME_BYTES_MAX + 1, 20]
    async with publishing(stream.publisher()) as publisher:
        bodies = [b'"%b"' % (b"x" * size) for size in sizes]
        assert await _refused(publisher, batch([Event("call-1", "call_started", body) for body in bodies])) == [2]
        assert [len(m.body) - 2 for m in await stream.received(3)] == [10, FRAME_BYTES_MAX - 300, 20]
        assert publisher.ready


async def test_stream_repeats_what_is_published_again(stream: Stream) -> None:
    """The broker drops older ids only of a batch with a producer."""
    older, newer = batch(2), batch(2, us=NOW_US + 1000)
    async with publishing(stream.publisher()) as first, publishing(stream.publisher()) as second:
        for publisher, each in ((first, newer), (second, older), (first, older), (second, newer)):
            await publisher.publish(each, "relay")
        found = await stream.received(8)
    assert [int(m.message_id) for m in found] == [*newer.ids, *older.ids, *older.ids, *newer.ids]


@pytest.mark.parametrize("stream", on_servers("real"), indirect=True)
async def test_stream_can_be_read_by_a_client_of_amqp_0_9_1(stream: Stream, rabbitmq: RabbitMQServer) -> None:
    reader = Queue(rabbitmq, "stream")
    reader.name = stream.name
    published = batch([event("call-1", "call_ended", duration=1), *events(2)])
    async with publishing(stream.publisher()) as publisher:
        await publisher.publish(published)
        found = await asyncio.to_thread(_first_of_stream, reader, 3)
    assert found == [(str(i), e.payload) for i, e in zip(published.ids, published.events, strict=True)]


def _first_of_stream(reader: Queue, count: int) -> Sequence[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    with reader.channel() as channel:
        channel.basic_qos(prefetch_count=count)
        for method, properties, body in channel.consume(reader.name, arguments={"x-stream-offset": "first"}):
            found.append((properties.message_id, body))
            channel.basic_ack(method.delivery_tag)
            if len(found) == count:
                channel.cancel()
                break
    return found


async def _refused(publisher: Publisher, published: Batch) -> Sequence[int]:
    with pytest.raises(NotConfirmed) as refused:
        await publisher.publish(published)
    return refused.value.positions


def _ids(*batches: Batch) -> set[str]:
    return {str(event_id) for each in batches for event_id in each.ids}


async def test_events_of_a_call_share_a_partition_and_keep_their_order(rabbitmq: RabbitMQServer) -> None:
    calls = [f"call-{number}" for number in range(30)]
    published = [batch([event(call) for call in calls], us=NOW_US + number * 1000) for number in range(3)]
    super_stream = SuperStream(rabbitmq, partitions=3)
    async with removed(super_stream), publishing(super_stream.publisher()) as publisher:
        for each in published:
            await publisher.publish(each)
        async with publishing(super_stream.publisher()) as again:  # existing streams are used as they are
            await again.publish(batch([event("call-0")], us=NOW_US + 9000))
        sizes = []
        for number in range(3):
            own = [call for call in calls if partition_of(call, 3) == number]
            expected = own * 3 + (["call-0"] if "call-0" in own else [])
            found = await super_stream.partition(number).received(len(expected))
            assert [json.loads(message.body)["call_id"] for message in found] == expected
            sizes.append(len(own))
        assert min(sizes) > 0
        assert super_stream.bindings() == {f"{super_stream.name}-{n}": str(n) for n in range(3)}


async def test_super_stream_needs_amqp_with_an_older_rabbitmq(rabbitmq: RabbitMQServer) -> None:
    super_stream = SuperStream(rabbitmq, partitions=2, amqp=False)
    async with removed(super_stream):
        publisher = super_stream.publisher()
        await publisher.start()
        try:
            if version_numbers(rabbitmq.amqp_url) < (3, 13):
                await until(lambda: "needs INGEST_BROKER_URL" in (publisher.problem or ""))
            else:
                await until(lambda: publisher.ready)
                assert super_stream.bindings() == {f"{super_stream.name}-{n}": str(n) for n in range(2)}
        finally:
            await publisher.close()


async def test_stream_is_declared_with_its_limits(rabbitmq: RabbitMQServer) -> None:
    stream = Stream(rabbitmq)
    topology = StreamTopology(stream.name, age_seconds_max=3600, bytes_max=1 << 30)
    async with removed(stream), publishing(StreamPublisher(stream.url, topology, NO_OBSERVER, **LIMITS)):
        arguments = arguments_of_queues(rabbitmq)[stream.name]
    assert '{<<"x-max-age">>,<<"3600s">>}' in arguments
    assert '{<<"x-max-length-bytes">>,1073741824}' in arguments

"""Every publisher keeps the contract of `ingest.broker.base`, on each broker."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from ingest.broker.base import Publisher
from ingest.errors import BrokerUnavailable
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import milliseconds_of
from tests.contract.broker.publishers import Broker, Embedded, Queue, Stream, all_of, publishing, removed, until
from tests.contract.broker.simulated import SimulatedQueue, SimulatedStream
from tests.services import RabbitMQServer, free_port
from tests.unit.making import NOW_US, batch, event

MILLISECOND = 1000
LARGE = 300 * 1024
SIMULATED_QUEUE, SIMULATED_STREAM = "simulated quorum", "simulated stream"
ON_A_SERVER = [pytest.param(kind, marks=pytest.mark.servers) for kind in ("quorum", "classic", "stream")]


@pytest.fixture(params=["embedded", SIMULATED_QUEUE, SIMULATED_STREAM, *ON_A_SERVER])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Broker]:
    async with removed(made(request.param, tmp_path, request)) as broker:
        yield broker


def made(kind: str, folder: Path, request: pytest.FixtureRequest) -> Broker:
    if kind == "embedded":
        return Embedded(folder)
    if kind == SIMULATED_QUEUE:
        return SimulatedQueue("quorum")
    if kind == SIMULATED_STREAM:
        return SimulatedStream()
    server = cast(RabbitMQServer, request.getfixturevalue("rabbitmq"))
    return Stream(server) if kind == "stream" else Queue(server, kind)


@pytest.fixture
async def publisher(broker: Broker) -> AsyncIterator[Publisher]:
    async with publishing(broker.publisher()) as publisher:
        yield publisher


def numbered(count: int, of: int) -> list[Batch]:
    """Return batches with consecutive ids, as a worker makes them."""
    return [batch(of, us=NOW_US + number * MILLISECOND) for number in range(count)]


def ids(*batches: Batch) -> list[str]:
    return [str(event_id) for made in batches for event_id in made.ids]


async def test_returned_publish_means_that_every_message_is_there(broker: Broker, publisher: Publisher) -> None:
    published = batch(500)
    await publisher.publish(published)
    found = await broker.received(500)
    assert [(m.message_id, m.body) for m in found] == list(
        zip(ids(published), [e.payload for e in published.events], strict=True)
    )


async def test_bodies_arrive_byte_for_byte(broker: Broker, publisher: Publisher) -> None:
    bodies = [
        b' { "a" : 1.0e2 ,\r\n\t"b":"\\u0000\\\\" } ',
        '{"name": "Zoë ☎ \N{TELEPHONE RECEIVER} Иванов"}'.encode(),
        *(b'{"x": "%b"}' % (str(size).encode() * LARGE)[:size] for size in (1, 255, 256, 131_064, 131_072, LARGE)),
        *(b'{"n": %d, "x": "%b"}' % (number, bytes([65 + number]) * LARGE) for number in range(8)),
    ]
    await publisher.publish(batch([Event("call-1", "call_started", body) for body in bodies]))
    assert [m.body for m in await broker.received(len(bodies))] == bodies


async def test_message_tells_id_type_time_and_content_type(broker: Broker, publisher: Publisher) -> None:
    published = batch([event("call-1", "call_ended", duration=1), event("call-2", "звонок_принят")])
    await publisher.publish(published)
    first, second = await broker.received(2)
    assert [first.message_id, second.message_id] == ids(published)
    assert [first.type, second.type] == ["call_ended", "звонок_принят"]
    assert first.timestamp == second.timestamp == milliseconds_of(published.first_id) // 1000
    assert {first.content_type, second.content_type} <= {"application/json", None}
    assert (first.content_type is None) == isinstance(broker, Embedded)
    assert first.persistent is (True if isinstance(broker, Queue | SimulatedQueue) else None)


async def test_headers_of_an_event_are_its_messages(broker: Broker, publisher: Publisher) -> None:
    published = batch(2)
    published.events[1].headers = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "token": "Zürich"}
    await publisher.publish(published)
    first, second = await broker.received(2)
    if not isinstance(broker, Embedded):  # it keeps no headers
        assert [first.headers, second.headers] == [{}, published.events[1].headers]


async def test_live_batches_keep_the_order_of_the_calls(broker: Broker, publisher: Publisher) -> None:
    batches = numbered(40, of=20)
    await asyncio.gather(*(publisher.publish(each) for each in batches))
    assert [m.message_id for m in await broker.received(800)] == ids(*batches)


async def test_both_priorities_publish_many_batches_at_once(broker: Broker, publisher: Publisher) -> None:
    batches = numbered(60, of=15)
    await asyncio.gather(
        *(publisher.publish(each, "relay" if number % 2 else "live") for number, each in enumerate(batches))
    )
    assert sorted(m.message_id for m in await broker.received(900)) == sorted(ids(*batches))


async def test_what_is_published_again_is_not_lost(broker: Broker, publisher: Publisher) -> None:
    """The relay publishes older ids after newer ones, and some of them for the second time."""
    older, newer, newest = numbered(3, of=2)
    for each in (newer, older, newest, newer):
        await publisher.publish(each, "relay")
    found = await broker.read(all_of(ids(older, newer, newest)))
    assert {m.message_id for m in found} == set(ids(older, newer, newest))


async def test_publisher_that_is_closed_says_so(broker: Broker) -> None:
    publisher = broker.publisher()
    await publisher.close()  # before any start
    publisher = broker.publisher()
    await publisher.start()
    await until(lambda: publisher.ready)
    assert publisher.problem is None
    await publisher.close()
    await publisher.close()
    assert not publisher.ready
    assert "closed" in (publisher.problem or "")
    with pytest.raises(BrokerUnavailable, match="closed"):
        await publisher.publish(batch(1))


@pytest.mark.parametrize("kind", ON_A_SERVER)
async def test_absent_broker_is_no_error_until_something_is_published(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    broker: Any = made(kind, tmp_path, request)
    broker.url = broker.url.replace(broker.url.rpartition(":")[2], f"{free_port()}/")
    publisher = broker.publisher()
    await publisher.start()
    try:
        await until(lambda: "not reachable" in (publisher.problem or ""))
        assert not publisher.ready
        assert "guest:guest" not in (publisher.problem or "")
        with pytest.raises(BrokerUnavailable, match="not reachable"):
            await publisher.publish(batch(1))
    finally:
        await publisher.close()


async def test_full_embedded_queue_takes_a_whole_batch_or_nothing(tmp_path: Path) -> None:
    broker = Embedded(tmp_path)
    async with publishing(broker.publisher(events_max=5)) as publisher:
        first, second = numbered(2, of=3)
        await publisher.publish(first)
        with pytest.raises(BrokerUnavailable, match="full"):
            await publisher.publish(second)
        assert publisher.problem
        assert [m.message_id for m in await broker.received(3)] == ids(first)
        await publisher.publish(second)
        assert publisher.problem is None
        assert [m.message_id for m in await broker.received(3)] == ids(second)

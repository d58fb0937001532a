"""The publisher respects the limits of a RabbitMQ server: message size, frames, channels, connections, queues."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from urllib.parse import urlsplit

import pytest

from ingest.broker.amqp.publisher import AmqpPublisher
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.broker.base import Priority, Publisher
from ingest.errors import BrokerUnavailable, NotConfirmed
from ingest.events.batch import Batch
from ingest.events.event import Event
from tests.contract.broker.publishers import LIMITS, Queue, all_of, publishing, removed, until
from tests.faults.reading import version_numbers
from tests.services import RabbitMQServer
from tests.services.rabbitmq_operator import (
    clear_user_limits,
    close_all_connections,
    set_user_limits,
    set_vhost_limits,
    variables,
)
from tests.unit.making import NOW_US, batch

MESSAGE_BYTES_MAX = 100_000
REASON = "320 CONNECTION_FORCED - for the test"
CLOSES_MAX = 5
"""RabbitMQ closes the socket soon after it has sent the reason. The kernel drops a reason that is read too late."""
pytestmark = pytest.mark.servers


@pytest.fixture
async def queue(rabbitmq: RabbitMQServer) -> AsyncIterator[Queue]:
    if not rabbitmq.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    queue = Queue(rabbitmq, "classic")
    async with removed(queue):
        yield queue


@pytest.fixture
def limited(rabbitmq: RabbitMQServer) -> Iterator[None]:
    with variables(rabbitmq, max_message_size=MESSAGE_BYTES_MAX):
        yield


class CountedConnections:
    def __init__(self) -> None:
        self.connections = 0

    def connected(self) -> None:
        self.connections += 1

    def retried(self, count: int) -> None: ...


def sized(*sizes: int, us: int = NOW_US) -> Batch:
    return batch([Event("call-1", "call_started", b'"%b"' % (b"x" * (size - 2))) for size in sizes], us=us)


async def buried(publisher: Publisher, published: Batch) -> tuple[Sequence[int], NotConfirmed]:
    """Publish as the relay does: the rest again and again, until some messages are refused for good."""
    positions: Sequence[int] = range(len(published))
    async with asyncio.timeout(60):
        while True:
            try:
                await publisher.publish(published.picked(positions), "relay")
            except NotConfirmed as exc:
                left = exc.among(positions)
                if left.never:
                    return left.never, left
                positions = left.positions
            await asyncio.sleep(0.05)


async def test_message_too_large_is_given_up_with_the_brokers_words_and_the_others_are_there(
    queue: Queue, limited: None
) -> None:
    counted = CountedConnections()
    publisher = AmqpPublisher(queue.url, QueueDeclaration(queue.name, "classic"), counted, channels_max=3, **LIMITS)
    async with publishing(publisher):
        published = sized(10, MESSAGE_BYTES_MAX + 1, 20, MESSAGE_BYTES_MAX)
        never, exc = await buried(publisher, published)
        assert never == [1]
        assert f"message size {MESSAGE_BYTES_MAX + 1} is larger than" in exc.reasons[1]
        found = await queue.read(all_of(str(published.ids[at]) for at in (0, 2, 3)))
        assert {len(message.body) for message in found} == {10, 20, MESSAGE_BYTES_MAX}
        assert counted.connections == 1


async def test_batches_in_flight_beside_a_message_too_large_are_published_at_once(queue: Queue, limited: None) -> None:
    async with publishing(queue.publisher()) as publisher:
        poison = sized(10, MESSAGE_BYTES_MAX + 5, 10)
        others = [batch(40, us=NOW_US + number * 1000) for number in range(1, 9)]
        outcomes = await asyncio.gather(
            *(publisher.publish(each) for each in (*others[:4], poison, *others[4:])), return_exceptions=True
        )
        refused = [outcome for outcome in outcomes if outcome is not None]
        assert [type(outcome) for outcome in refused] == [NotConfirmed]
        assert isinstance(refused[0], NotConfirmed)
        assert (refused[0].positions, refused[0].undecided, refused[0].never) == ([1], [1], [])
        expected = {str(event_id) for each in others for event_id in each.ids}
        await queue.read(all_of([*expected, str(poison.ids[0]), str(poison.ids[2])]))
        assert publisher.ready


async def test_message_once_too_large_is_published_when_the_broker_takes_it(
    queue: Queue, rabbitmq: RabbitMQServer
) -> None:
    published = sized(10, MESSAGE_BYTES_MAX + 7)
    async with AsyncExitStack() as stack:
        with variables(rabbitmq, max_message_size=MESSAGE_BYTES_MAX):  # an open channel keeps its first value
            publisher = await stack.enter_async_context(publishing(queue.publisher()))
            with pytest.raises(NotConfirmed, match="is larger than"):
                await publisher.publish(published, "relay")
        assert "is larger than" in (publisher.problem or "")
        assert publisher.ready
        async with asyncio.timeout(60):
            while publisher.problem:
                with suppress(NotConfirmed):
                    await publisher.publish(published.picked([1]), "relay")
        await queue.read(all_of(map(str, published.ids)))


@pytest.mark.parametrize(
    ("channel_max", "frame_max"), [(1, "least"), (2, "least"), (3, "none"), (2047, "none")], ids=str
)
async def test_limits_of_the_broker_are_respected(
    queue: Queue, rabbitmq: RabbitMQServer, channel_max: int, frame_max: str
) -> None:
    least = 4096 if version_numbers(rabbitmq.amqp_url) < (4,) else 8192
    with variables(rabbitmq, channel_max=channel_max, frame_max=least if frame_max == "least" else 0):
        async with publishing(queue.publisher()) as publisher:
            published = [sized(10, 17_000, 300_000, us=NOW_US + number * 1000) for number in range(6)]
            published[3].events[1].headers = {"tracestate": "z" * 9000, "token": "kamailio"}
            lanes: Sequence[Priority] = ("live", "relay")
            await asyncio.gather(*(publisher.publish(each, lanes[n % 2]) for n, each in enumerate(published)))
            found = await queue.received(18)
            sizes = {message.message_id: len(message.body) for message in found}
            assert sizes == {
                str(i): len(e.payload) for each in published for i, e in zip(each.ids, each.events, strict=True)
            }
            await queue.delete()
            (again,) = [sized(10, us=NOW_US + 9_000_000)]
            await _taken(publisher, again)
            assert (await queue.received(1))[0].message_id == str(again.first_id)


async def _taken(publisher: Publisher, published: Batch) -> None:
    """The next connection respects it at the latest."""
    async with asyncio.timeout(60):
        while True:
            await until(lambda: publisher.ready)
            with suppress(BrokerUnavailable):
                return await publisher.publish(published)


async def test_limit_of_a_users_channels_is_respected(queue: Queue, rabbitmq: RabbitMQServer) -> None:
    user = urlsplit(queue.url).username or ""
    set_user_limits(rabbitmq, user, {"max-channels": 2})
    try:
        async with publishing(queue.publisher()) as publisher:
            await publisher.publish(batch(2))
            await publisher.publish(batch(2, us=NOW_US + 1000), "relay")
    finally:
        clear_user_limits(rabbitmq, user)
    await queue.received(4)


@pytest.mark.parametrize("heartbeat", [0, 2])
async def test_other_heartbeat_of_the_server_loses_no_connection(
    queue: Queue, rabbitmq: RabbitMQServer, heartbeat: int
) -> None:
    with variables(rabbitmq, heartbeat=heartbeat):
        counted = CountedConnections()
        publisher = AmqpPublisher(queue.url, QueueDeclaration(queue.name, "classic"), counted, channels_max=3, **LIMITS)
        async with publishing(publisher):
            await asyncio.sleep(7)  # more than two heartbeats of the server's
            await publisher.publish(batch(1))
        assert counted.connections == 1


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max-connections": 0}, "connection limit (0) is reached"),
        ({"max-queues": 0}, "queue limit in vhost '/' (0) is reached"),
    ],
    ids=["connections", "queues"],
)
async def test_limit_of_the_vhost_is_reported_in_the_brokers_words(
    queue: Queue, rabbitmq: RabbitMQServer, limits: dict[str, int], words: str
) -> None:
    set_vhost_limits(rabbitmq, limits)
    publisher = queue.publisher()
    await publisher.start()
    try:
        await until(lambda: words in (publisher.problem or ""))
        set_vhost_limits(rabbitmq, dict.fromkeys(limits, -1))
        await until(lambda: publisher.ready)
    finally:
        set_vhost_limits(rabbitmq, dict.fromkeys(limits, -1))
        await publisher.close()


async def test_connection_closed_by_the_operator_is_reported_in_the_brokers_words(
    queue: Queue, rabbitmq: RabbitMQServer, caplog: pytest.LogCaptureFixture
) -> None:
    def reasons() -> list[str]:
        return [str(one.__dict__["reason"]) for one in caplog.records if one.message == "RabbitMQ connection lost"]

    async with publishing(queue.publisher()) as publisher:
        for closes in range(CLOSES_MAX):
            await until(lambda: publisher.ready)
            await publisher.publish(batch(1))
            close_all_connections(rabbitmq, "for the test")
            await until(partial(lambda seen: len(reasons()) > seen, closes))
            if REASON in reasons()[-1]:
                break
    assert REASON in reasons()[-1]

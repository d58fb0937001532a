"""The model of RabbitMQ under the service's own publishers: what a fault leaves behind."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ingest.broker.amqp.publisher import AmqpPublisher
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.broker.stream.publisher import StreamPublisher
from ingest.broker.stream.topology import StreamTopology
from ingest.errors import BrokerUnavailable, NotConfirmed
from tests.contract.broker.publishers import publishing, until
from tests.simulation.chance import SeededChance
from tests.simulation.rabbitmq.broker import Broker
from tests.simulation.rabbitmq.faults import KINDS, FaultRates
from tests.simulation.rabbitmq.loops import NetworkLoop
from tests.simulation.rabbitmq.network import Network
from tests.simulation.rabbitmq.streams.log import NAMES_MAX, Stream
from tests.unit.making import NOW_US, batch

QUEUE = "call-events"
CONFIRM_SECONDS = 0.5
ADDRESS, STREAM_ADDRESS = ("broker", 5672), ("broker", 5552)


class Chosen:
    """Chance that makes one fault of this kind happen, before the message `at` of a chunk."""

    def __init__(self, kind: str, at: int) -> None:
        self._choices = {"rabbitmq: which fault": KINDS.index(kind), "rabbitmq: at which message": at}
        self._left = 1

    def happens(self, what: str, probability: float) -> bool:
        self._left -= what == "rabbitmq: a chunk meets a fault"
        return self._left == 0 and what == "rabbitmq: a chunk meets a fault"

    def pick(self, what: str, count: int) -> int:
        return self._choices.get(what, 0)

    def seconds(self, what: str, least: float, most: float) -> float:
        return least


@pytest.fixture
async def network() -> Network:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, NetworkLoop)
    loop.network = Network()
    return loop.network


@pytest.fixture
async def broker(network: Network) -> AsyncIterator[Broker]:
    broker = Broker(SeededChance(0), stream_address=STREAM_ADDRESS)
    network.listen(*ADDRESS, broker)
    network.listen(*STREAM_ADDRESS, broker.streams_listener)
    yield broker
    assert broker.defect is None


@pytest.fixture
async def publisher(broker: Broker) -> AsyncIterator[AmqpPublisher]:
    publisher = AmqpPublisher(
        "amqp://guest:guest@broker:5672/",
        QueueDeclaration(QUEUE, "quorum"),
        channels_max=3,
        confirm_timeout_seconds=CONFIRM_SECONDS,
        connect_timeout_seconds=CONFIRM_SECONDS,
        reconnect_seconds_max=0.1,
    )
    async with publishing(publisher):
        yield publisher


async def turns() -> None:
    """Let the loop do all that needs no time."""
    for _ in range(50):
        await asyncio.sleep(0)


def ids(broker: Broker) -> set[int]:
    return {int(message.message_id) for message in broker.messages(QUEUE)}


@pytest.mark.parametrize("kind", ["nack", "close channel"])
async def test_messages_of_a_refused_chunk_are_published_again(
    broker: Broker, publisher: AmqpPublisher, kind: str
) -> None:
    broker.rates, broker.chance = FaultRates(chunk=1.0), Chosen(kind, 2)
    made = batch(5)

    try:
        await publisher.publish(made, "relay")
    except NotConfirmed as exc:  # the suspects of a closed channel
        await publisher.publish(made.picked(exc.positions), "relay")

    assert ids(broker) == set(made.ids)


@pytest.mark.parametrize("kind", ["silent", "lost", "close connection"])
async def test_outcome_is_unknown_without_a_confirm(broker: Broker, publisher: AmqpPublisher, kind: str) -> None:
    broker.rates, broker.chance = FaultRates(chunk=1.0), Chosen(kind, 2)
    made = batch(5)

    with pytest.raises(BrokerUnavailable):
        await publisher.publish(made)

    assert ids(broker) == set(made.ids if kind == "silent" else made.ids[:2])


async def test_crash_keeps_what_was_confirmed(broker: Broker, publisher: AmqpPublisher) -> None:
    confirmed, open_ = batch(3), batch(3, us=NOW_US + 1000)
    await publisher.publish(confirmed)
    broker.rates = FaultRates(confirm_seconds=(10.0, 20.0), survives=0.0)
    publish = asyncio.create_task(publisher.publish(open_))
    await until(lambda: len(ids(broker)) == 6)

    broker.restart()

    with pytest.raises(BrokerUnavailable):
        await publish
    assert ids(broker) == set(confirmed.ids)


async def test_alarm_blocks_and_ends(broker: Broker, publisher: AmqpPublisher) -> None:
    broker.block()
    await publisher.publish(batch(1))  # this one is taken
    await turns()
    publish = asyncio.create_task(publisher.publish(batch(2, us=NOW_US + 1000)))
    assert await publisher.blocked()

    broker.unblock()

    await publish
    assert not await publisher.blocked()
    assert len(ids(broker)) == 3


async def test_frozen_broker_confirms_nothing_until_it_is_thawed(broker: Broker, publisher: AmqpPublisher) -> None:
    broker.freeze()
    publish = asyncio.create_task(publisher.publish(batch(2)))
    await turns()
    assert ids(broker) == set()

    broker.thaw()

    await publish
    assert ids(broker) == set(batch(2).ids)


async def test_connections_of_a_killed_process_end(network: Network, broker: Broker, publisher: AmqpPublisher) -> None:
    assert broker.connections == 1

    network.end_of(None)

    await until(lambda: broker.connections == 0)


async def test_stream_of_a_killed_broker_keeps_confirmed_messages(broker: Broker) -> None:
    publisher = StreamPublisher(
        "rabbitmq-stream://guest:guest@broker:5552/",
        StreamTopology(QUEUE),
        confirm_timeout_seconds=1.0,
        connect_timeout_seconds=1.0,
        reconnect_seconds_max=0.1,
    )
    async with publishing(publisher):
        await publisher.publish(batch(3))
        broker.restart()
        await until(lambda: not publisher.ready)
        await until(lambda: publisher.ready)
        await publisher.publish(batch(2, us=NOW_US + 1000))
    assert [entry.publishing_id for entry in broker.streams[QUEUE].entries] == [
        *batch(3).ids,
        *batch(2, us=NOW_US + 1000).ids,
    ]


def test_stream_forgets_the_name_that_has_not_written_for_the_longest_time() -> None:
    stream = Stream(QUEUE, {})
    for number in range(NAMES_MAX + 1):
        stream.append(f"name {number}", [(5, b"x")], 0)
    assert stream.append("name 0", [(5, b"again")], 0) is None

    stream.forget_names()

    assert stream.append("name 1", [(4, b"again")], 0) is None
    assert stream.append("name 0", [(4, b"again")], 0) is not None


def test_lost_tail_takes_its_publishing_ids_along() -> None:
    stream = Stream(QUEUE, {})
    for publishing_id in (1, 2, 3):
        chunk = stream.append("name", [(publishing_id, b"x")], 0)
        assert chunk is not None
        chunk.is_safe = publishing_id == 1

    stream.lose_tail(keeps=1)

    assert [entry.publishing_id for entry in stream.entries] == [1, 2]
    assert stream.append("name", [(3, b"again")], 0) is not None

"""Publishers while their broker is stopped, killed or frozen. These tests have a server of their own."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack

import msgspec
import pytest

from ingest.broker.base import Publisher
from ingest.broker.stream.address import StreamAddress
from ingest.broker.stream.search import Wanted, find_ids
from ingest.errors import BrokerUnavailable, PublishError
from ingest.events.batch import Batch
from ingest.events.ids import SEQUENCE_BITS, SLOT_BITS, IdGenerator
from tests.contract.broker.publishers import Broker, Queue, Stream, all_of, publishing, removed, until
from tests.services import RabbitMQServer, rabbitmq_server
from tests.services.rabbitmq import STREAMS
from tests.unit.making import NOW_US, batch

CONFIRM_TIMEOUT_SECONDS = 2.0
KINDS = ("quorum", "classic", "stream")
HANG_SECONDS = CONFIRM_TIMEOUT_SECONDS + 58.0
"""A publish that takes longer hangs."""
RECOVERY_SECONDS = 90.0
BATCHES_BEFORE_THE_FAULT = 20


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQServer]:
    with rabbitmq_server() as server:
        if not server.controllable:
            pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not kill")
        yield server


class Pair(msgspec.Struct, frozen=True):
    """A publisher and its broker."""

    broker: Broker
    publisher: Publisher

    def away(self) -> bool:
        return not self.publisher.ready

    def unreachable(self) -> bool:
        return "not reachable" in (self.publisher.problem or "")

    async def works_again(self, confirmed: Iterable[str] = ()) -> None:
        """Check that the publisher recovers and publishes, and that the broker still has the `confirmed` ids."""
        last = batch(3, slot=2)
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not await self._published(last):
                pass
        await self.broker.read(all_of([*confirmed, *map(str, last.ids)]))

    async def _published(self, last: Batch) -> bool:
        """Publish as the relay does, once it is ready. A new leader may refuse some messages at first."""
        await until(lambda: self.publisher.ready, RECOVERY_SECONDS)
        try:
            await self.publisher.publish(last, "relay")
        except PublishError:
            return False
        return True


@pytest.fixture
async def pairs(rabbitmq: RabbitMQServer) -> AsyncIterator[Sequence[Pair]]:
    """One pair of each kind. They share a fault, because a server's start takes seconds."""
    brokers = [Queue(rabbitmq, "quorum"), Queue(rabbitmq, "classic"), Stream(rabbitmq)]
    async with AsyncExitStack() as stack:
        made = []
        for broker in brokers:
            await stack.enter_async_context(removed(broker))
            publisher = broker.publisher(confirm_timeout_seconds=CONFIRM_TIMEOUT_SECONDS)
            made.append(Pair(broker, await stack.enter_async_context(publishing(publisher))))
        rabbitmq.wait_until_crash_safe(brokers[0].name)
        rabbitmq.wait_until_crash_safe(STREAMS)
        yield made


class Load:
    """Publishes batches until one fails after `expect_fault`. `confirmed` has the ids of all that did not fail."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.confirmed: set[str] = set()
        self.batches = 0
        self.error: BaseException | None = None
        self._fault_expected = False
        self.task = asyncio.create_task(self._run())

    def expect_fault(self) -> None:
        self._fault_expected = True

    async def _run(self) -> None:
        ids = IdGenerator(1, lambda: NOW_US)
        while self.error is None:
            made = msgspec.structs.replace(batch(50), ids=ids.take(50))
            try:
                async with asyncio.timeout(HANG_SECONDS):
                    await self.pair.publisher.publish(made)
            except BrokerUnavailable as exc:
                # A busy machine may miss the short deadline before the fault, too.
                self.error = exc if self._fault_expected else None
                await until(lambda: self._fault_expected or self.pair.publisher.ready)
            except Exception as exc:
                self.error = exc
            else:
                self.confirmed.update(str(event_id) for event_id in made.ids)
                self.batches += 1


async def test_load_loses_no_confirmed_message(pairs: Sequence[Pair], rabbitmq: RabbitMQServer) -> None:
    """After kill -9 under load the broker has all confirmed messages, and publishing continues by itself."""
    loads = [Load(pair) for pair in pairs]
    await until(lambda: all(load.batches >= BATCHES_BEFORE_THE_FAULT for load in loads))
    for load in loads:
        load.expect_fault()
    await asyncio.to_thread(rabbitmq.kill)
    try:
        await asyncio.gather(*(load.task for load in loads))
        assert {load.pair.broker.kind: type(load.error) for load in loads} == dict.fromkeys(KINDS, BrokerUnavailable)
        assert [pair.publisher.ready for pair in pairs] == [False] * len(pairs)
    finally:
        await asyncio.to_thread(rabbitmq.start)
    for load in loads:
        await load.pair.works_again(load.confirmed)


async def test_stopped_broker_is_noticed_at_once_and_used_again_when_it_is_back(
    pairs: Sequence[Pair], rabbitmq: RabbitMQServer, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(rabbitmq.stop)
    try:
        for pair in pairs:
            await until(pair.away)
            with pytest.raises(BrokerUnavailable):
                await pair.publisher.publish(batch(1))
            assert pair.publisher.problem
            await until(pair.unreachable)
        said = [record.message for record in caplog.records if record.name == "ingest.publisher"]
        assert sorted(said) == ["RabbitMQ connection failed"] * 3 + ["RabbitMQ connection lost"] * 3
    finally:
        await asyncio.to_thread(rabbitmq.start)
    for pair in pairs:
        await pair.works_again()


async def test_frozen_broker_is_noticed_at_the_confirm_deadline(
    pairs: Sequence[Pair], rabbitmq: RabbitMQServer
) -> None:
    rabbitmq.freeze()
    try:
        async with asyncio.timeout(HANG_SECONDS):
            outcomes = await asyncio.gather(
                *(pair.publisher.publish(batch(3), priority) for pair in pairs for priority in ("live", "relay")),
                return_exceptions=True,
            )
        assert [type(outcome) for outcome in outcomes] == [BrokerUnavailable] * len(outcomes)
        assert [pair.publisher.ready for pair in pairs] == [False] * len(pairs)
    finally:
        rabbitmq.thaw()
    for pair in pairs:
        await pair.works_again()


async def test_publisher_of_a_frozen_broker_can_be_closed(pairs: Sequence[Pair], rabbitmq: RabbitMQServer) -> None:
    rabbitmq.freeze()
    try:
        async with asyncio.timeout(HANG_SECONDS):
            await asyncio.gather(*(pair.publisher.close() for pair in pairs))
    finally:
        rabbitmq.thaw()


class Looked(frozenset[int]):
    """Ids to search for. `asked` is set once the first message was read."""

    asked: asyncio.Event

    def __contains__(self, event_id: object) -> bool:
        self.asked.set()
        return super().__contains__(event_id)


async def test_search_in_a_frozen_broker_fails_instead_of_finding_ids_missing(rabbitmq: RabbitMQServer) -> None:
    stream, published = Stream(rabbitmq), batch(3)
    looked = Looked([0])
    looked.asked = asyncio.Event()
    wanted = [Wanted(producer=1, ids=looked, newest=published.last_id + (1 << SEQUENCE_BITS + SLOT_BITS))]
    async with removed(stream), publishing(stream.publisher()) as publisher:
        await publisher.publish(published)
        address = StreamAddress.parse(rabbitmq.stream_url)
        search = asyncio.create_task(find_ids(address, stream.name, wanted, NOW_US // 1000))
        await looked.asked.wait()
        rabbitmq.freeze()
        try:
            with pytest.raises(BrokerUnavailable):
                await search
        finally:
            rabbitmq.thaw()


async def test_stream_without_its_last_event_is_searched_to_its_end(
    rabbitmq: RabbitMQServer, caplog: pytest.LogCaptureFixture
) -> None:
    stream, published = Stream(rabbitmq), batch(3)
    first_id, last_id = published.ids[0], published.ids[-1]
    async with removed(stream), publishing(stream.publisher()) as publisher:
        await publisher.publish(published)
        address = StreamAddress.parse(rabbitmq.stream_url)
        for newest in (last_id, last_id + 1):
            assert not caplog.records
            wanted = [Wanted(producer=1, ids={first_id, 0}, newest=newest)]
            assert await find_ids(address, stream.name, wanted, NOW_US // 1000) == {first_id}
    assert "its limits may have dropped them" in caplog.records[0].message

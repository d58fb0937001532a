"""Two instances of the documented consumer share a real stream in partitions."""

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType

import pytest

from ingest.broker.stream.partitions import partition_of
from tests.contract.broker.publishers import ARRIVE_SECONDS, Stream, SuperStream, publishing, removed, until
from tests.faults.reading import version_numbers
from tests.paths import DOCS
from tests.services import RabbitMQServer
from tests.unit.making import NOW_US, batch, event

EXAMPLE = DOCS / "stream_consumer.py"
CALLS = [f"call-{number}" for number in range(30)]
STEPS = 10
STORED_EVERY = 10
BAD = 3
"""The step that the handler cannot handle."""


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stream_consumer", EXAMPLE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def plain_stream(rabbitmq: RabbitMQServer) -> AsyncIterator[Stream]:
    """A stream of the default settings, with one partition."""
    made = Stream(rabbitmq)
    async with removed(made):
        yield made


@pytest.fixture
async def stream(rabbitmq: RabbitMQServer) -> AsyncIterator[SuperStream]:
    if version_numbers(rabbitmq.amqp_url) < (3, 11):
        pytest.skip("RabbitMQ has single active consumers of streams since 3.11: `make test-mysql` runs this")
    made = SuperStream(rabbitmq, partitions=3)
    async with removed(made):
        yield made


class Handled:
    """The events that one consumer has handled, in order: call and step."""

    def __init__(self, example: ModuleType, stream: SuperStream) -> None:
        self.events: list[tuple[str, int]] = []
        partitions = example.Partitions(self._handle, STORED_EVERY)
        self.task = asyncio.create_task(example.consume(stream.url, stream.name, partitions, 3))

    def calls_since(self, step: int) -> set[str]:
        return {call for call, of_call in self.events if of_call >= step}

    async def _handle(self, event: dict[str, object]) -> None:
        self.events.append((str(event["call_id"]), int(str(event["step"]))))

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def started(consumers: AsyncExitStack, example: ModuleType, stream: SuperStream) -> Handled:
    """Start a consumer, which stops with the stack."""
    made = Handled(example, stream)
    consumers.push_async_callback(made.stop)
    return made


def steps_of(steps: range) -> set[tuple[str, int]]:
    """Return these steps of all calls."""
    return {(call, step) for call in CALLS for step in steps}


async def test_consumers_share_the_partitions_and_one_goes_on_where_another_stopped(
    example: ModuleType, stream: SuperStream
) -> None:
    async with publishing(stream.publisher()) as publisher:

        async def publish(steps: range) -> None:
            for step in steps:
                await publisher.publish(batch([event(call, step=step) for call in CALLS], us=NOW_US + step * 1000))

        async def handled(steps: range, *by: Handled) -> None:
            await publish(steps)
            await until(lambda: steps_of(steps) <= {event for each in by for event in each.events})

        async with AsyncExitStack() as consumers:
            one = started(consumers, example, stream)
            await handled(range(1), one)
            other = started(consumers, example, stream)
            shared = 1
            async with asyncio.timeout(ARRIVE_SECONDS):
                while not other.events:  # a partition moves to it, with some events again
                    await handled(range(shared, shared + 1), one, other)
                    shared += 1
            middle, end = shared + STEPS, shared + 2 * STEPS
            await handled(range(shared, middle), one, other)
            ones = one.calls_since(shared)
            others = other.calls_since(shared)
            assert ones
            assert others
            assert not ones & others
            await one.stop()
            await handled(range(middle, end), other)

    for call in others:
        own = [step for name, step in other.events if name == call and step >= shared]
        assert own == list(range(shared, end))
    again = [(call, step) for call, step in other.events if call in ones and shared <= step < middle]
    taken_over = {partition_of(call, 3) for call in ones}
    assert len(again) <= STORED_EVERY * len(taken_over)


async def test_a_consumer_of_the_default_stream_parks_a_bad_event_and_goes_on_after_a_restart(
    example: ModuleType, plain_stream: Stream, tmp_path: Path
) -> None:
    handled: list[int] = []

    async def handle(event: dict[str, object]) -> None:
        if event["step"] == BAD:
            raise ValueError("for the test")
        handled.append(int(str(event["step"])))

    async def consume_until(step: int) -> None:
        partitions = example.Partitions(handle, STORED_EVERY, pause_seconds=0, parked=tmp_path / "parked.ndjson")
        task = asyncio.create_task(example.consume(plain_stream.url, plain_stream.name, partitions))
        try:
            await until(lambda: step in handled)
        finally:
            task.cancel()
            await asyncio.wait([task])

    async with publishing(plain_stream.publisher()) as publisher:
        for step in range(STORED_EVERY + 2):
            await publisher.publish(batch([event("call", step=step)], us=NOW_US + step * 1000))
        await consume_until(STORED_EVERY + 1)
        first, handled[:] = list(handled), []
        await publisher.publish(batch([event("call", step=STORED_EVERY + 2)], us=NOW_US + 100_000))
        await consume_until(STORED_EVERY + 2)

    assert first == [step for step in range(STORED_EVERY + 2) if step != BAD]
    assert handled == [STORED_EVERY + 1, STORED_EVERY + 2]  # the stored offset is that of the tenth event
    (parked,) = (tmp_path / "parked.ndjson").read_text().splitlines()
    assert json.loads(parked)["step"] == BAD

"""The filter values of a stream's messages: RabbitMQ has them since 3.13."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from rstream import AMQPMessage, Consumer, ConsumerOffsetSpecification, FilterConfiguration, OffsetType, amqp_decoder

from ingest.broker.stream.node import FILTERS_SINCE
from ingest.broker.stream.publisher import StreamPublisher
from ingest.broker.stream.topology import StreamTopology
from ingest.events.routing_key import VALUES
from ingest.telemetry.connection_metrics import NO_OBSERVER
from tests.contract.broker.publishers import ARRIVE_SECONDS, LIMITS, Stream, publishing, removed
from tests.faults.reading import version_numbers
from tests.services import RabbitMQServer
from tests.unit.making import batch, event

PER_TYPE = 200
pytestmark = pytest.mark.servers


class Filtered(Stream):
    def publisher(self, **limits: float) -> StreamPublisher:
        value = VALUES["event_type"]
        return StreamPublisher(
            self.url, StreamTopology(self.name), NO_OBSERVER, filter_value=value, **{**LIMITS, **limits}
        )

    async def types_with(self, filter_value: str, until: str) -> list[str]:
        """Read with a filter, without a comparison of its own, until a message of the last type comes."""
        found: list[str] = []
        done = asyncio.Event()

        def take(message: AMQPMessage, _: object) -> None:
            assert message.properties is not None
            found.append(bytes(message.properties.subject).decode())
            if found[-1] == until:
                done.set()

        chosen = FilterConfiguration(values_to_filter=[filter_value, until], match_unfiltered=False)
        async with Consumer(**self.options) as consumer, asyncio.timeout(ARRIVE_SECONDS):
            offset = ConsumerOffsetSpecification(OffsetType.FIRST)
            await consumer.subscribe(
                self.name, take, decoder=amqp_decoder, offset_specification=offset, filter_input=chosen
            )
            await done.wait()
        return found


@pytest.fixture
async def stream(rabbitmq: RabbitMQServer) -> AsyncIterator[Filtered]:
    stream = Filtered(rabbitmq)
    async with removed(stream):
        yield stream


async def test_messages_have_their_values_or_a_warning_says_that_there_are_none(
    stream: Filtered, caplog: pytest.LogCaptureFixture
) -> None:
    """Each batch has one type, so it is a chunk of its own, which the broker leaves out if it has another type."""
    with caplog.at_level(logging.WARNING, "ingest.publisher"):
        async with publishing(stream.publisher()) as publisher:
            for event_type in ("call_started", "call_answered", "call_ended"):
                await publisher.publish(batch([event(event_type=event_type)] * PER_TYPE))
            await publisher.publish(batch([event(event_type="the_last")]))

    if version_numbers(stream.amqp_url) < FILTERS_SINCE:
        assert "INGEST_STREAM_FILTER has no effect" in caplog.text
        assert len(await stream.received(3 * PER_TYPE + 1)) == 3 * PER_TYPE + 1
    else:
        assert caplog.text == ""
        found = await stream.types_with("call_answered", "the_last")
        assert found == ["call_answered"] * PER_TYPE + ["the_last"]

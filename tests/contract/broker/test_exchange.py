"""The publisher for a queue behind a topic exchange."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import pytest

from ingest.broker.amqp.publisher import AmqpPublisher
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.events.batch import Batch
from ingest.events.routing_key import Destination, RoutingKey
from ingest.telemetry.connection_metrics import NO_OBSERVER
from tests.contract.broker.publishers import LIMITS, Queue, all_of, publishing, removed, until
from tests.services import RabbitMQServer
from tests.services.rabbitmq_operator import add_user
from tests.unit.making import batch, event

PASSWORD = "a-password"
pytestmark = pytest.mark.servers


class Routed(Queue):
    """A classic queue behind an exchange of its own, and further queues that are bound to it."""

    def __init__(self, server: RabbitMQServer, template: str = "{event_type}") -> None:
        super().__init__(server, "classic")
        self.server = server
        self.exchange = f"{self.name}-exchange"
        self.template = template
        self.others: list[str] = []

    def publisher(self, **limits: float) -> AmqpPublisher:
        routed_to = Destination(self.exchange, RoutingKey.parse(self.template))
        declaration = QueueDeclaration(self.name, self.kind, routed_to)
        return AmqpPublisher(self.url, declaration, NO_OBSERVER, channels_max=3, **{**LIMITS, **limits})

    def application(self, pattern: str) -> Queue:
        """A queue of another application, bound to the exchange."""
        other = Queue(self.server, self.kind)
        other.declare({})
        with self.channel() as channel:
            channel.queue_bind(other.name, self.exchange, pattern)
        self.others.append(other.name)
        return other

    def delete_queue(self) -> None:
        with self.channel() as channel:
            channel.queue_delete(self.name)

    def as_user(self, name: str, *rights: str) -> None:
        """Publish as a new user with these rights to configure, write and read."""
        add_user(self.server, name, PASSWORD, *rights)
        self.url = self.url.replace("guest:guest@", f"{name}:{PASSWORD}@")

    async def delete(self) -> None:
        with Queue.channel(Queue(self.server, self.kind)) as channel:
            for name in [self.name, *self.others]:
                channel.queue_delete(name)
            channel.exchange_delete(self.exchange)


@pytest.fixture
async def routed(rabbitmq: RabbitMQServer) -> AsyncIterator[Routed]:
    routed = Routed(rabbitmq)
    async with removed(routed):
        yield routed


def ids_of(made: Batch) -> list[str]:
    return [str(event_id) for event_id in made.ids]


def of_types(*types: str) -> Batch:
    return batch([event(f"call-{number}", kind) for number, kind in enumerate(types)])


async def came(queue: Queue, count: int) -> Sequence[str]:
    return [message.type for message in await queue.received(count)]


async def test_two_applications_and_the_queue_get_every_event(routed: Routed) -> None:
    async with publishing(routed.publisher()) as publisher:
        one, other = routed.application("#"), routed.application("#")
        made = of_types("call_started", "call_answered", "call.ended", "call_started")
        await publisher.publish(made)

        for queue in (routed, one, other):
            await queue.read(all_of(ids_of(made)))


async def test_an_application_gets_the_keys_of_its_binding(routed: Routed) -> None:
    routed.template = "{token}.{event_type}"
    made = of_types("call_started", "call.ended", "call_started", "call.ended")
    made.events[2].headers = made.events[3].headers = {"token": "crm"}
    async with publishing(routed.publisher()) as publisher:
        ended, crm = routed.application("*.call_ended"), routed.application("crm.*")
        await publisher.publish(made, "relay")

        assert await came(ended, 2) == ["call.ended", "call.ended"]
        assert await came(crm, 2) == ["call_started", "call.ended"]
        await routed.read(all_of(ids_of(made)))


async def test_messages_that_no_queue_gets_are_returned_and_published_again(routed: Routed) -> None:
    async with publishing(routed.publisher()) as publisher:
        routed.delete_queue()
        made = of_types("call_started", "call_ended")
        await publisher.publish(made)

        await routed.read(all_of(ids_of(made)))


async def test_deleted_queue_is_declared_again_though_another_one_gets_the_messages(
    routed: Routed, caplog: pytest.LogCaptureFixture
) -> None:
    async with publishing(routed.publisher(look_seconds=0.1)) as publisher:
        other = routed.application("#")
        await publisher.publish(of_types("call_started"))
        with caplog.at_level(logging.ERROR, "ingest.publisher"):
            routed.delete_queue()
            await until(lambda: "the messages since the last look" in caplog.text)
        made = of_types("call_ended")

        async def published() -> None:
            """The log line comes before the declaration."""
            while True:
                await publisher.publish(made)
                with routed.channel() as channel:
                    if channel.basic_get(routed.name)[0]:
                        return

        async with asyncio.timeout(60):
            await published()
        await came(other, 2)
        assert publisher.ready


async def test_exchange_of_another_type_is_refused_with_words(routed: Routed) -> None:
    with routed.channel() as channel:
        channel.exchange_declare(routed.exchange, "direct", durable=True)
    publisher = routed.publisher()
    await publisher.start()
    try:
        await until(lambda: "its type is direct" in (publisher.problem or ""))
        assert f"INGEST_EXCHANGE={routed.exchange} needs a topic exchange" in (publisher.problem or "")
    finally:
        await publisher.close()


async def test_exchange_with_other_arguments_is_used_as_it_is(routed: Routed) -> None:
    with routed.channel() as channel:
        channel.exchange_declare(routed.exchange, "topic", durable=True, arguments={"alternate-exchange": "amq.fanout"})
    async with publishing(routed.publisher()) as publisher:
        made = of_types("call_started")
        await publisher.publish(made)

        await routed.read(all_of(ids_of(made)))


@pytest.mark.parametrize(
    ("rights", "words"),
    [
        (["^{queue}$", ".*", ".*"], "this user may not declare it"),
        ([".*", ".*", "^{queue}$"], "This user may not bind the queue"),
        ([".*", "^{exchange}$", ".*"], "This user may not bind the queue"),
    ],
)
async def test_missing_rights_are_explained(routed: Routed, rights: list[str], words: str) -> None:
    if not routed.server.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    names = {"queue": routed.name, "exchange": routed.exchange}
    routed.as_user(routed.name, *(right.format(**names) for right in rights))
    publisher = routed.publisher()
    await publisher.start()
    try:
        await until(lambda: words in (publisher.problem or ""))
    finally:
        await publisher.close()


async def test_user_who_may_only_write_to_an_existing_exchange_publishes(routed: Routed) -> None:
    if not routed.server.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    async with publishing(routed.publisher()):
        pass
    routed.as_user(routed.name, "^$", ".*", ".*")
    async with publishing(routed.publisher()) as publisher:
        made = of_types("call_started")
        await publisher.publish(made)

        await routed.read(all_of(ids_of(made)))

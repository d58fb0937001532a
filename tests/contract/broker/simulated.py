"""The simulation's model of RabbitMQ, held to the contract of the real one."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pamqp.frame

from ingest.broker.amqp.publisher import AmqpPublisher
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.broker.base import Publisher
from ingest.clock import unix_us
from ingest.telemetry.connection_metrics import NO_OBSERVER
from tests.contract.broker.publishers import LIMITS, Broker, Enough, Received, Stream, until
from tests.simulation.chance import SeededChance
from tests.simulation.rabbitmq import broker
from tests.simulation.rabbitmq.loops import NetworkLoop
from tests.simulation.rabbitmq.network import Network
from tests.simulation.rabbitmq.queues import Message, Queue

ADDRESS, STREAM_ADDRESS = ("simulated", 5672), ("simulated", 5552)
URL = "amqp://guest:guest@simulated:5672/"
STREAM_URL = "rabbitmq-stream://guest:guest@simulated:5552/"


def listening_broker() -> broker.Broker:
    """A broker in the running loop's network."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, NetworkLoop)
    loop.network = Network()
    made = broker.Broker(SeededChance(0), now_ms=lambda: unix_us() // 1000, stream_address=STREAM_ADDRESS)
    loop.network.listen(*ADDRESS, made)
    loop.network.listen(*STREAM_ADDRESS, made.streams_listener)
    return made


class SimulatedQueue(Broker):
    """A queue of `kind` quorum or classic on a broker of its own. Made in the event loop of the test."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = "call-events"
        self.url = URL
        self.server = listening_broker()

    def publisher(self, **limits: float) -> Publisher:
        declaration = QueueDeclaration(self.name, self.kind)
        return AmqpPublisher(self.url, declaration, NO_OBSERVER, channels_max=3, **{**LIMITS, **limits})

    async def read(self, enough: Enough) -> list[Received]:
        found: list[Received] = []

        def came() -> bool:
            messages = self.server.messages(self.name)
            while messages and not enough(found):
                found.append(_received(messages.pop(0)))
            return enough(found)

        await until(came)
        return found

    def declare(self, arguments: Mapping[str, Any]) -> None:
        whole = {"x-queue-type": self.kind, **arguments}
        self.server.queues[self.name] = Queue(self.name, whole, durable=True)

    async def delete(self) -> None:
        self.server.delete_queue(self.name)
        assert self.server.defect is None


class SimulatedStream(Stream):
    """A stream on a broker of its own, read through rstream like a real one."""

    def __init__(self) -> None:
        self.name = "call-events"
        self.url, self.amqp_url = STREAM_URL, URL
        self.server = listening_broker()
        host, port = STREAM_ADDRESS
        self.options = {"host": host, "port": port, "username": "guest", "password": "guest"}

    async def delete(self) -> None:
        self.server.delete_stream(self.name)
        assert self.server.defect is None


def _received(message: Message) -> Received:
    start = b"\x02\x00\x01" + len(message.header).to_bytes(4)
    header: Any = pamqp.frame.unmarshal(start + message.header + b"\xce")[2]
    properties = header.properties
    return Received(
        message_id=properties.message_id,
        type=properties.message_type,
        timestamp=int(properties.timestamp.timestamp()),
        body=message.body,
        content_type=properties.content_type,
        persistent=properties.delivery_mode == 2,
        headers=properties.headers or {},
    )

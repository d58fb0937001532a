"""Random operations of one client of AMQP on a few queues and exchanges, and what the broker answers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any

import aiormq
import aiormq.exceptions
import msgspec
from pamqp import commands

CODES = {
    aiormq.exceptions.ChannelNotFoundEntity: 404,
    aiormq.exceptions.ChannelPreconditionFailed: 406,
    aiormq.exceptions.ChannelAccessRefused: 403,
}
KINDS: Sequence[Mapping[str, Any]] = (
    {"x-queue-type": "classic"},
    {"x-queue-type": "quorum"},
    {"x-queue-type": "classic", "x-max-length": 2, "x-overflow": "reject-publish"},
    {"x-queue-type": "classic", "x-max-length": 2},
)
EXCHANGE_TYPES = ("topic", "direct", "topic")
BINDING_KEYS = ("#", "call.*", "call.started", "*.started", "call.#")
ROUTING_KEYS = ("call.started", "call.ended", "call", "call.started.again")
QUEUES, EXCHANGES = ("a", "b"), ("x",)


class Operation(msgspec.Struct, frozen=True):
    what: str
    queue: str = ""
    exchange: str = ""
    key: str = ""
    arguments: Mapping[str, Any] = {}
    mandatory: bool = True


def any_operation(random: Random) -> Operation:
    queue, exchange = random.choice(QUEUES), random.choice(EXCHANGES)
    what = random.choice(("declare", "look", "exchange", "bind", "delete", *("publish",) * 5, *("route",) * 3))
    mandatory = random.random() < 0.8
    if what == "declare":
        return Operation(what, queue, arguments=random.choice(KINDS))
    if what == "exchange":
        return Operation(what, exchange=exchange, key=random.choice(EXCHANGE_TYPES))
    if what == "bind":
        return Operation(what, queue, exchange, random.choice(BINDING_KEYS))
    if what == "route":
        return Operation(what, exchange=exchange, key=random.choice(ROUTING_KEYS), mandatory=mandatory)
    return Operation(what, queue, mandatory=mandatory)


class Client:
    """One connection. `prefix` distinguishes the names of one test."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._connection: Any = None
        self._channel: Any = None
        self._kinds: dict[str, str] = {}

    async def open(self) -> None:
        self._connection = await aiormq.connect(self._url)

    async def close(self) -> None:
        for queue in QUEUES:
            await self.run(Operation("delete", queue))
        channel = await self._opened()
        await channel.exchange_delete(self._prefix + EXCHANGES[0])
        await self._connection.close()

    async def run(self, operation: Operation) -> object:
        """The broker's answer: a word or a number, or the code with which it closes the channel."""
        methods: dict[str, Callable[[Any, Operation], Awaitable[object]]] = {
            "declare": self._declare,
            "look": self._look,
            "exchange": self._exchange,
            "bind": self._bind,
            "delete": self._delete,
            "publish": self._publish,
            "route": self._publish,
        }
        try:
            return await methods[operation.what](await self._opened(), operation)
        except tuple(CODES) as exc:
            return CODES[type(exc)]

    async def count(self, queue: str) -> object:
        return await self.run(Operation("look", queue))

    async def _opened(self) -> Any:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._connection.channel(publisher_confirms=True)
        return self._channel

    async def _declare(self, channel: Any, of: Operation) -> object:
        await channel.queue_declare(self._prefix + of.queue, durable=True, arguments=dict(of.arguments))
        return "declared"

    async def _look(self, channel: Any, of: Operation) -> object:
        answer = await channel.queue_declare(self._prefix + of.queue, passive=True)
        return int(answer.message_count)

    async def _exchange(self, channel: Any, of: Operation) -> object:
        await channel.exchange_declare(self._prefix + of.exchange, exchange_type=of.key, durable=True)
        return "declared"

    async def _bind(self, channel: Any, of: Operation) -> object:
        await channel.queue_bind(self._prefix + of.queue, self._prefix + of.exchange, routing_key=of.key)
        return "bound"

    async def _delete(self, channel: Any, of: Operation) -> object:
        await channel.queue_delete(self._prefix + of.queue)
        return "deleted"

    async def _publish(self, channel: Any, of: Operation) -> object:
        exchange = self._prefix + of.exchange if of.exchange else ""
        key = of.key if of.exchange else self._prefix + of.queue
        properties = commands.Basic.Properties(delivery_mode=2, message_id="1")
        try:
            answer = await channel.basic_publish(
                b"body", exchange=exchange, routing_key=key, properties=properties, mandatory=of.mandatory
            )
        except aiormq.exceptions.PublishError:
            return "returned"
        except aiormq.exceptions.DeliveryError:
            return "refused"
        return "confirmed" if isinstance(answer, commands.Basic.Ack) else "refused"

"""The broker as a whole, and what may happen to it. The simulation's world calls these actions."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from tests.simulation.chance import Chance
from tests.simulation.rabbitmq.connection import Connection
from tests.simulation.rabbitmq.faults import NO_FAULTS, FaultRates
from tests.simulation.rabbitmq.network import Endpoint
from tests.simulation.rabbitmq.queues import Exchange, Message, Queue
from tests.simulation.rabbitmq.streams.connection import StreamConnection
from tests.simulation.rabbitmq.streams.log import Stream

SHUTDOWN = 320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
MESSAGE_BYTES_MAX = 128 << 20
"""RabbitMQ's default up to 3.13."""


C = TypeVar("C", Connection, StreamConnection)


class StreamListener:
    """Implements `Listener`."""

    def __init__(self, accept: Callable[[Endpoint], StreamConnection]) -> None:
        self.accept = accept


class Broker:
    """Implements `Listener`."""

    def __init__(
        self,
        chance: Chance,
        rates: FaultRates = NO_FAULTS,
        *,
        version: str = "3.10.8",
        now_ms: Callable[[], int] = lambda: 0,
        stream_address: tuple[str, int] = ("broker", 5552),
    ) -> None:
        """`now_ms` is the broker's clock, Unix time. It names `stream_address` to stream clients."""
        self.chance = chance
        self.rates = rates
        """May be replaced at any time."""
        self.version = version
        self.now_ms = now_ms
        self.stream_address = stream_address
        self.streams: dict[str, Stream] = {}
        self.message_bytes_max = MESSAGE_BYTES_MAX
        self.channel_max = 2047
        self.connections_max: int | None = None
        self.denied: set[str] = set()
        """The rights that the user lacks: `configure`, `write` or `bind`."""
        self.queues: dict[str, Queue] = {}
        self.exchanges: dict[str, Exchange] = {}
        self.has_alarm = False
        self.defect: Exception | None = None
        """The first error of the model itself."""
        self._is_up = True
        self._frozen = False
        self._deferred: list[Callable[[], None]] = []
        self._connections: dict[Connection | StreamConnection, None] = {}
        self._context = copy_context()

    def accept(self, endpoint: Endpoint) -> Connection:
        return self._accepted(Connection(self, endpoint))

    def _accept_stream(self, endpoint: Endpoint) -> StreamConnection:
        return self._accepted(StreamConnection(self, endpoint))

    def _accepted(self, connection: C) -> C:
        if not self._is_up:
            raise ConnectionRefusedError("the broker is down")
        if self._frozen:
            connection.endpoint.pause_reading()
        self._connections[connection] = None
        return connection

    @property
    def streams_listener(self) -> "StreamListener":
        """Listens for the stream protocol."""
        return StreamListener(self._accept_stream)

    def forget(self, connection: object) -> None:
        self._connections = {one: None for one in self._connections if one is not connection}

    @property
    def connections(self) -> int:
        return len(self._connections)

    def messages(self, queue: str) -> list[Message]:
        """The messages in the order of the queue. Empty if it does not exist."""
        found = self.queues.get(queue)
        return found.messages if found else []

    def route(self, exchange: str, message: Message) -> list[Queue] | None:
        """The queues that get the message. None if the exchange does not exist."""
        if not exchange:
            queue = self.queues.get(message.routing_key)
            return [queue] if queue else []
        found = self.exchanges.get(exchange)
        if found is None:
            return None
        return [self.queues[name] for name in found.queues_of(message.routing_key) if name in self.queues]

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Call it after this time, or when a frozen broker is thawed."""
        loop = asyncio.get_running_loop()
        if seconds or self._frozen:
            loop.call_later(seconds, self._unless_frozen, work, context=self._context)
        else:
            loop.call_soon(work, context=self._context)

    def _unless_frozen(self, work: Callable[[], None]) -> None:
        if self._frozen:
            self._deferred.append(work)
        else:
            work()

    # Actions

    def crash(self) -> None:
        """Reset all connections. Messages without a confirm may be lost, and those that are not durable are lost."""
        self._is_up = False
        self._frozen = False
        self._deferred.clear()
        for connection in list(self._connections):
            connection.reset()
        self._lose_messages()

    def stop(self) -> None:
        """Stop as planned: tell the reason first."""
        self._is_up = False
        for connection in list(self._connections):
            connection.close(*SHUTDOWN)
            connection.end()
        self._lose_messages()

    def start(self) -> None:
        self._is_up = True

    def restart(self) -> None:
        self.crash()
        self.start()

    def _lose_messages(self) -> None:
        self.queues = {name: queue for name, queue in self.queues.items() if queue.durable}
        self.exchanges = {name: one for name, one in self.exchanges.items() if one.durable}
        for queue in self.queues.values():
            queue.messages[:] = [message for message in queue.messages if self._survives(message)]
        for stream in self.streams.values():
            stream.lose_tail(self.chance.pick("rabbitmq: chunks that survive", stream.unsafe_chunks() + 1))

    def _survives(self, message: Message) -> bool:
        if not message.is_safe:
            message.is_safe = self.chance.happens("rabbitmq: survives without a confirm", self.rates.survives)
        return message.is_safe and message.is_persistent

    def freeze(self) -> None:
        """Stop all, like a stopped process, until `thaw`."""
        self._frozen = True
        for connection in self._connections:
            connection.endpoint.pause_reading()

    def thaw(self) -> None:
        self._frozen = False
        deferred, self._deferred = self._deferred, []
        for work in deferred:
            work()
        for connection in list(self._connections):
            connection.thaw()

    def block(self) -> None:
        """The memory or disk alarm: a connection that publishes is blocked after its next message."""
        self.has_alarm = True

    def unblock(self) -> None:
        self.has_alarm = False
        for connection in list(self._connections):
            connection.unblock()

    def delete_queue(self, name: str) -> None:
        self.queues.pop(name, None)
        for exchange in self.exchanges.values():
            for binding in [one for one in exchange.bindings if one[1] == name]:
                del exchange.bindings[binding]

    def delete_stream(self, name: str) -> None:
        if self.streams.pop(name, None) is not None:
            for connection in self._stream_connections():
                connection.stream_is_gone(name)

    def stream_written(self, stream: Stream) -> None:
        for connection in self._stream_connections():
            connection.written(stream)

    def _stream_connections(self) -> "list[StreamConnection]":
        return [one for one in self._connections if isinstance(one, StreamConnection)]

    def close_connections(self, code: int = SHUTDOWN[0], text: str = SHUTDOWN[1]) -> None:
        """As an operator does."""
        for connection in list(self._connections):
            connection.close(code, text)

    def break_connections(self) -> None:
        for connection in list(self._connections):
            connection.reset()

    def limit(self, queue: str, length: int | None, overflow: str = "reject-publish") -> None:
        """As a policy does. None removes the limit."""
        arguments: dict[str, Any] = self.queues[queue].arguments
        if length is None:
            arguments.pop("x-max-length", None)
        else:
            arguments.update({"x-max-length": length, "x-overflow": overflow})

"""A broker in memory, which outlives the workers, and a worker's connection to it: the port `Publisher`."""

import asyncio
from collections.abc import Sequence

from ingest.broker.base import Priority
from ingest.errors import BrokerUnavailable, NotConfirmed
from ingest.events.batch import Batch
from tests.simulation.chance import Chance

UNROUTABLE = b'"unroutable"'
"""The broker never takes a message with this text."""


class Broker:
    def __init__(self) -> None:
        self.messages: list[tuple[int, bytes]] = []
        """Event id and body, in the order of the queue."""
        self.confirmed: dict[int, bytes] = {}
        self.down = False
        self.frozen = False
        self.slow_seconds = 0.0

    def take(self, batch: Batch, positions: Sequence[int]) -> None:
        for at in positions:
            message = (batch.ids[at], bytes(batch.events[at].payload))
            self.messages.append(message)
            self.confirmed[message[0]] = message[1]


class ModelPublisher:
    """Implements `ingest.broker.base.Publisher`. A failed publish ends the connection for a while."""

    def __init__(self, broker: Broker, chance: Chance, confirm_timeout_seconds: float) -> None:
        self._broker = broker
        self._chance = chance
        self._confirm_timeout_seconds = confirm_timeout_seconds
        self._away_until = 0.0
        self._closed = False

    @property
    def ready(self) -> bool:
        return self.problem is None

    @property
    def problem(self) -> str | None:
        away = self._closed or self._broker.down or asyncio.get_running_loop().time() < self._away_until
        return "The broker is away." if away else None

    async def blocked(self) -> bool:
        return False

    async def start(self) -> None: ...

    async def close(self) -> None:
        self._closed = True

    async def publish(self, batch: Batch, priority: Priority = "live") -> None:
        if self.problem:
            raise BrokerUnavailable(self.problem)
        chance, broker = self._chance, self._broker
        await asyncio.sleep(chance.seconds("broker is reached", 0.0002, 0.002 + broker.slow_seconds))
        if broker.frozen:
            await asyncio.sleep(self._confirm_timeout_seconds)
            self._lose()
        if broker.down or chance.happens("broker connection breaks", 0.005):
            self._lose()
        never = [at for at, event in enumerate(batch.events) if UNROUTABLE in event.payload]
        refused = set(never)
        if chance.happens("broker refuses a message", 0.01):
            refused.add(chance.pick("refused message", len(batch)))
        taken = [at for at in range(len(batch)) if at not in refused]
        broker.take(batch, taken)
        if chance.happens("confirms are lost", 0.005):
            self._lose()
        await asyncio.sleep(chance.seconds("broker confirms", 0.0002, 0.004 + broker.slow_seconds))
        if broker.frozen:
            await asyncio.sleep(self._confirm_timeout_seconds)
            self._lose()
        if refused:
            raise NotConfirmed("The broker refused messages.", sorted(refused), never)

    def _lose(self) -> None:
        self._away_until = asyncio.get_running_loop().time() + self._chance.seconds("broker reconnects", 0.2, 3.0)
        raise BrokerUnavailable("The connection to the broker was lost.")

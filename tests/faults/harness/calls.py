"""Calls on several nodes: each event is sent after the answer to the one before, usually to another node.

The stream must hold each event once. All events of a call must be in one partition, in the order of the answers.
"""

import asyncio
import itertools
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import Any

import msgspec
import pika

from tests.faults.harness.background import AsyncBackground
from tests.faults.harness.load import ANSWER_SECONDS, CONNECT_SECONDS, Client

STEPS = 5
"""The default number of events in a call."""
CALLERS = 32
STOP_SECONDS = ANSWER_SECONDS + CONNECT_SECONDS + 30
REFUSED_SECONDS = 0.2
"""Pause before a refused event is sent again."""
PREFETCH_MESSAGES = 2000
QUIET_SECONDS = 3.0
EXAMPLES = 10
READ_SECONDS = 60.0
"""A stream may be silent for this time while it is empty, or not read to its end."""

Message = tuple[str, int]
"""A message of a stream: the call, and the number of its event."""


class Calls(AsyncBackground):
    """`with Calls(ports) as calls:` makes calls in a separate thread until the block ends."""

    def __init__(
        self, ports: Sequence[int], callers: int = CALLERS, events_per_second: float = 400.0, steps: int = STEPS
    ) -> None:
        super().__init__(STOP_SECONDS + steps * callers / events_per_second)
        self.answered: dict[str, int] = {}
        """Call → number of its events answered 200; these are its first events."""
        self.unknown: set[Message] = set()
        self.refused = 0
        self.longest_seconds = 0.0
        self._ports = ports
        self._callers = callers
        self._steps = steps
        self._interval_seconds = callers / events_per_second
        self._run_id = token_hex(4)
        self._numbers = itertools.count()

    @property
    def events(self) -> int:
        return sum(list(self.answered.values()))

    def made(self, message: Message) -> bool:
        """Return True if the message belongs to these calls."""
        return message[0].startswith(f"{self._run_id}-")

    async def _run_async(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._callers):
                group.create_task(self._call_on(number))

    async def _call_on(self, number: int) -> None:
        clients = [Client(lambda port=port: port) for port in self._ports]  # type: ignore[misc]
        turns = itertools.cycle(clients[number % len(clients) :] + clients[: number % len(clients)])
        while not self._stopping.is_set():
            call = f"{self._run_id}-{next(self._numbers)}"
            for step in range(self._steps):
                due = time.monotonic() + self._interval_seconds
                if not await self._made(next(turns), call, step):
                    break
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        for client in clients:
            await client.close()

    async def _made(self, client: Client, call: str, step: int) -> bool:
        """Send the event until it is accepted. Return False if an answer is missing, so that the result is unknown."""
        body = json.dumps(
            {
                "call_id": call,
                "event_type": "call_ringing",
                "from_number": "a",
                "to_number": "b",
                "timestamp": "2025-01-31T13:45:00Z",
                "step": step,
            }
        ).encode()
        while True:
            try:
                await client.connect()
            except OSError:
                if self._stopping.is_set():
                    return False
                await asyncio.sleep(REFUSED_SECONDS)
                continue
            sent = time.monotonic()
            try:
                status = await client.post(body)
            except (OSError, EOFError):
                self.unknown.add((call, step))
                await client.close()
                return False
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - sent)
            if status == 200:
                self.answered[call] = step + 1
                return True
            self.refused += 1
            if status == 500:
                self.unknown.add((call, step))
                return False
            await asyncio.sleep(REFUSED_SECONDS)


class Found(msgspec.Struct, frozen=True):
    """The comparison of the partitions with the answers."""

    events: int
    lost: int
    repeated: int
    scattered: int
    """Calls in more than one partition."""
    disordered: int
    """Calls whose events are not in the order of their answers."""
    examples: Mapping[str, Sequence[int]]
    """Some of the disordered calls, and the order of their events in the partition."""

    @property
    def faults(self) -> dict[str, int]:
        return {name: n for name in ("lost", "repeated", "scattered", "disordered") if (n := getattr(self, name))}


def compared(answered: Mapping[str, int], partitions: Iterable[Sequence[Message]]) -> Found:
    copies: Counter[Message] = Counter()
    places: defaultdict[str, set[int]] = defaultdict(set)
    orders: defaultdict[str, list[int]] = defaultdict(list)
    for number, messages in enumerate(partitions):
        for call, step in messages:
            copies[call, step] += 1
            places[call].add(number)
            orders[call].append(step)
    disordered = {call: steps for call, steps in orders.items() if steps != sorted(steps)}
    return Found(
        events=sum(answered.values()),
        lost=sum((call, step) not in copies for call, steps in answered.items() for step in range(steps)),
        repeated=sum(copies.values()) - len(copies),
        scattered=sum(len(numbers) > 1 for numbers in places.values()),
        disordered=len(disordered),
        examples=dict(itertools.islice(disordered.items(), EXAMPLES)),
    )


def read_partition(amqp_url: str, stream: str) -> list[Message]:
    """Read all messages of a stream, in order, over AMQP 0.9.1, with another client than the service's.

    Silence means the end only after the first message of the last chunk. Before that RabbitMQ is only slow.
    """
    messages: list[Message] = []
    with _connected(amqp_url) as connection:
        last_chunk, _ = next(_consumed(connection.channel(), stream, "last", READ_SECONDS))
        if last_chunk is None:
            return messages
        silent_since, reached = time.monotonic(), False
        for offset, body in _consumed(connection.channel(), stream, "first", QUIET_SECONDS):
            if offset is not None:
                event = json.loads(body)
                messages.append((event["call_id"], event["step"]))
                silent_since, reached = time.monotonic(), reached or offset >= last_chunk
            elif reached:
                return messages
            elif time.monotonic() > silent_since + READ_SECONDS:
                break
    raise AssertionError(f"{stream} could not be read to its end, only {len(messages)} messages")


@contextmanager
def _connected(amqp_url: str) -> Iterator[pika.BlockingConnection]:
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    try:
        yield connection
    finally:
        with suppress(pika.exceptions.AMQPError):  # pika returns prefetched messages, which streams do not support
            connection.close()


def _consumed(channel: Any, stream: str, start: str, quiet_seconds: float) -> Iterator[tuple[int | None, bytes]]:
    """Yield offset and body of each message; an item without an offset if none arrives within `quiet_seconds`."""
    channel.basic_qos(prefetch_count=PREFETCH_MESSAGES)
    arguments, taken = {"x-stream-offset": start}, 0
    for method, properties, body in channel.consume(stream, arguments=arguments, inactivity_timeout=quiet_seconds):
        if method is None:
            yield None, b""
            continue
        yield properties.headers["x-stream-offset"], body
        taken += 1
        if taken % (PREFETCH_MESSAGES // 4) == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)

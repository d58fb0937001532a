"""Clients that post events to workers, give up after a while, and send again."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from ingest.http import batch_handler, event_handler
from ingest.http.rsgi import Handler
from tests.simulation.chance import Chance
from tests.simulation.ledger import Ledger
from tests.simulation.machine.loop import Process, SimulatedLoop
from tests.simulation.subjects.tokens import Admission, Secret, Visit
from tests.simulation.workers import Life

log = logging.getLogger("simulation")

FAILED = 500
GIVE_UP_SECONDS = (0.2, 2.0)
TRIES_MAX = 4
REQUEST_EVENTS_MAX = 60
ALONE = 4
"""One request of four has a single event."""
BAD_PROBABILITY = 0.002
"""An event has each mark with this probability."""
REQUESTS_OF_A_CALL = 4
TYPES = ("call_started", "call_answered", "call_held", "call_hangup")


MARK = b'"mark":'
TRY = b"-try"
"""In the payload of an event without a key, which differs each time that it is sent."""
OTHER = b"-other"
"""In the payload of an event that differs each time that it is sent, although its key stays: the client is wrong."""
WRONG_KEYS = 24
"""One request of this many with a key is sent again with other events."""


class Answer(NamedTuple):
    """The answer to a request with these events, and those that it accepts."""

    status: int
    body: bytes
    payloads: list[bytes]
    accepted: list[bytes]


class Headers:
    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def items(self) -> list[tuple[str, str]]:
        return [*self._values.items()]


class Scope(msgspec.Struct):
    headers: Headers
    path: str
    method: str = "POST"
    query_string: str = ""
    authority: str | None = None
    http_version: str = "1.1"
    scheme: str = "http"
    proto: str = "http"
    server: str = "127.0.0.1:8000"
    client: str = "[::1]:50000"


class Exchange:
    """A request and its answer, as the handler sees them."""

    def __init__(self, body: bytes, answer: "asyncio.Future[tuple[int, bytes]]", answered: Any) -> None:
        self._body = body
        self._answer = answer
        self._answered = answered

    async def __call__(self) -> bytes:
        return self._body

    async def __aiter__(self) -> Any:
        yield self._body
        yield b""

    async def client_disconnect(self) -> None: ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._answered(status, body)
        if not self._answer.done():
            self._answer.set_result((status, body))

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Any:
        raise NotImplementedError


class Client:
    """Posts `events` events of its own, some alone and some in batches, to any worker."""

    def __init__(
        self,
        name: str,
        loop: SimulatedLoop,
        chance: Chance,
        ledger: Ledger,
        lives: list[Life],
        marks: Sequence[str],
        answered: Callable[[Life, "Answer"], None],
        admission: Admission,
        tick_seconds: float,
    ) -> None:
        self.process = Process(f"client {name}")
        self._name = name
        self._loop = loop
        self._chance = chance
        self._ledger = ledger
        self._lives = lives
        self._marks = marks
        self._answered = answered
        """Called with the life that has answered."""
        self._admission = admission
        self._tick_seconds = tick_seconds
        """A request begins at a multiple of this time, so that those of several clients share a batch. 0 if at any."""
        self._number = 0
        self._last: tuple[int, bytes] | None = None
        """The number of a call, and its newest event that was accepted."""

    async def run(self, events: int) -> None:
        chance = self._chance
        while events > 0:
            await asyncio.sleep(self._until_tick(chance.seconds("client pauses", 0.0, 0.25)))
            many = chance.pick("request", ALONE)
            count = min(events, 1 + chance.pick("events of a request", REQUEST_EVENTS_MAX)) if many else 1
            events -= count
            await self._deliver(count, keyed=chance.pick("has a key", 3) == 0)

    def _until_tick(self, seconds: float) -> float:
        """This time, and further until the next tick."""
        return seconds + -(self._loop.time() + seconds) % self._tick_seconds if self._tick_seconds else seconds

    async def _deliver(self, count: int, *, keyed: bool) -> None:
        """Send these events until they are accepted or refused, or for a few times."""
        self._number += 1
        name = f"{self._name}-{self._number}"
        call = f"{self._name}-call-{self._number // REQUESTS_OF_A_CALL}"
        marks = [self._mark() for _ in range(count)]
        secret = self._admission.secret()
        wrong = keyed and self._chance.pick("key of other events", WRONG_KEYS) == WRONG_KEYS - 1
        changes = OTHER if wrong else b"" if keyed else TRY
        for attempt in range(TRIES_MAX):
            tag = f"{name}{changes.decode()}{attempt}" if changes else name
            payloads = [_payload(call, tag, index, mark) for index, mark in enumerate(marks)]
            if await self._post(payloads, name if keyed else None, secret):
                return
            if not keyed:  # the keys of tokens with different names are apart
                secret = self._admission.secret()
            await asyncio.sleep(self._chance.seconds("client sends again after", 0.1, 1.0))

    def _note_order(self, accepted: list[bytes]) -> None:
        """The client has waited for this answer before it goes on, so events of a call have an order."""
        call = self._number // REQUESTS_OF_A_CALL
        for payload in accepted:
            if self._last and self._last[0] == call:
                self._ledger.in_order.append((self._last[1], payload))
            self._last = call, payload

    def _mark(self) -> str:
        if not self._chance.happens("event is bad", BAD_PROBABILITY * len(self._marks)):
            return ""
        return self._marks[self._chance.pick("mark of an event", len(self._marks))]

    async def _post(self, payloads: list[bytes], key: str | None, secret: Secret) -> bool:
        """Return True if every event was accepted, or was refused for good."""
        lives = [life for life in self._lives if life.accepting and life.process.alive]
        if not lives:
            return False
        life = lives[self._chance.pick("worker of a request", len(lives))]
        ledger, began, first = self._ledger, self._loop.time(), _tag_of(payloads[0])
        log.info("%d events of %s are posted to %s", len(payloads), first, life.process.name)
        ledger.sent.update(payloads)
        ledger.posted += len(payloads)
        answer: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()

        visit = Visit(life, secret)

        def answered(status: int, body: bytes) -> None:
            self._admission.answered(visit, status)
            good = _accepted(payloads, status, body)
            log.info("%d: %d of %d events of %s are accepted", status, len(good), len(payloads), first)
            ledger.answers_200 += len(good)
            ledger.answers_500 += len(payloads) if status == FAILED else 0
            if not life.was_stopped:
                ledger.slowest_seconds = max(ledger.slowest_seconds, self._loop.time() - began)
            self._answered(life, Answer(status, body, payloads, good))

        head = {"content-length": str(sum(map(len, payloads))), "x-api-token": secret.text}
        if key:
            head["idempotency-key"] = key
        path = event_handler.PATH if len(payloads) == 1 else batch_handler.PATH
        body = payloads[0] if len(payloads) == 1 else b"[" + b",".join(payloads) + b"]"
        head["content-length"] = str(len(body))
        exchange = Exchange(body, answer, answered)
        life.connections[answer] = None
        work = _handle(life.handlers[path], Scope(Headers(head), path), exchange, visit)
        life.requests.append(self._loop.in_process(life.process, work, "request"))
        try:
            async with asyncio.timeout(self._chance.seconds("client gives up after", *GIVE_UP_SECONDS)):
                status, content = await answer
        except (TimeoutError, ConnectionResetError):
            return False
        finally:
            life.connections.pop(answer, None)
        good = _accepted(payloads, status, content)
        self._note_order(good)
        return len(good) == len(payloads)


async def _handle(handler: Handler, scope: Scope, exchange: Exchange, visit: Visit) -> None:
    visit.begin()
    await handler(scope, exchange)


def _tag_of(payload: bytes) -> str:
    return payload.split(b'"n":"')[1].split(b"/")[0].decode()


def _payload(call: str, tag: str, index: int, mark: str) -> bytes:
    text = (
        f'{{"call_id":"{call}","from_number":"100","to_number":"200","event_type":"{TYPES[index % len(TYPES)]}",'
        f'"timestamp":"2025-11-30T10:00:00Z","n":"{tag}/{index}"'
    )
    return (text + (f',"mark":"{mark}"}}' if mark else "}")).encode()


def _accepted(payloads: list[bytes], status: int, body: bytes) -> list[bytes]:
    if len(payloads) == 1:
        return payloads if status == 200 else []
    if status not in (200, 422, 500, 503):
        return []
    answer = msgspec.json.decode(body)
    if "rejected" not in answer:
        return payloads if status == 200 else []
    rejected = {item["index"] for item in answer["rejected"]}
    return [payload for index, payload in enumerate(payloads) if index not in rejected] if status == 200 else []

"""Things that happen to the service while it is under an open loop at half of saturation.

broker-restarts   RabbitMQ is stopped and started in the middle of the run
relay-drains      events were taken while RabbitMQ was away; the run begins when it is back and the relay drains them
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from typing import Literal, get_args

import msgspec

from bench.harness import wrk
from bench.harness.targets import DRAIN_SECONDS_MAX, BenchFailed, Servers, Service
from bench.latency.figures import Figures, curve, figures, split
from bench.openloop.generator import Generator
from bench.openloop.plan import Plan, Recording
from ingest.events.ids import milliseconds_of
from tests.services import wait_until

EventName = Literal["broker-restarts", "relay-drains"]
EVENT_NAMES: tuple[EventName, ...] = get_args(EventName)

OLDEST = "SELECT MIN(first_id) FROM ingest_outbox"
BEFORE_SHARE = 1 / 4
"""Of a run that passes before RabbitMQ is restarted."""
BACKLOG = wrk.Load(connections=256, seconds=5)
Span = tuple[float, float]
"""Two moments of `time.monotonic`."""


class Scene(msgspec.Struct, frozen=True):
    servers: Servers
    service: Service
    generator: Generator


class CommittedPart(msgspec.Struct, frozen=True):
    """Of a run: what was due while the event lasted, or all else."""

    latency: Figures
    curve: list[tuple[float, float]]


class Event(msgspec.Struct, frozen=True):
    """It lasts `from_seconds` to `to_seconds` of the run, and ends when all that came before is published."""

    per_second: float
    seconds: float
    from_seconds: float
    to_seconds: float
    backlog_events: int
    within: CommittedPart
    outside: CommittedPart
    reasons: dict[str, int]


def measure(name: EventName, scene: Scene, plan: Plan) -> Event:
    """Raises `BenchFailed` if what was answered is not all in the database, or does not get published."""
    scene.service.clear()
    backlog, (recording, span) = EVENTS[name](scene, plan)
    scene.service.drain()
    answered = figures(recording.latency).answered + backlog
    rows = scene.service.rows()
    if rows is not None and rows < answered:
        raise BenchFailed(f"{answered} events were answered 200, {rows} are in the database")
    return event_of(plan, recording, span, backlog)


def event_of(plan: Plan, recording: Recording, span: Span, backlog: int) -> Event:
    within, outside = split(recording, *span)
    return Event(
        per_second=plan.per_second,
        seconds=plan.seconds,
        from_seconds=max(0.0, span[0] - recording.started),
        to_seconds=span[1] - recording.started,
        backlog_events=backlog,
        within=CommittedPart(figures(within), curve(within)),
        outside=CommittedPart(figures(outside), curve(outside)),
        reasons=dict(recording.failures),
    )


def _broker_restarts(scene: Scene, plan: Plan) -> tuple[int, tuple[Recording, Span]]:
    running = scene.generator.start(plan)
    wait([running], timeout=plan.seconds * BEFORE_SHARE)
    begun = time.monotonic()
    scene.servers.rabbitmq.restart()
    _published(scene)
    ended = time.monotonic()
    return 0, (running.result(), (begun, ended))


def _relay_drains(scene: Scene, plan: Plan) -> tuple[int, tuple[Recording, Span]]:
    scene.servers.rabbitmq.stop()
    taken = wrk.run(scene.service.port, scene.service.token, BACKLOG)
    scene.servers.rabbitmq.start()
    begun = time.monotonic()
    running = scene.generator.start(plan)
    _published(scene)
    ended = time.monotonic()
    return taken.events, (running.result(), (begun, ended))


def _published(scene: Scene) -> None:
    """Return when no event older than this call waits any more. Raises `BenchFailed`."""
    now_ms = time.time() * 1000

    def is_published() -> bool:
        oldest = scene.servers.mysql.query(OLDEST, scene.service.database)[0][0]
        return oldest is None or milliseconds_of(oldest) > now_ms

    if not wait_until(is_published, DRAIN_SECONDS_MAX):
        raise BenchFailed(f"the relay has not drained the outbox within {DRAIN_SECONDS_MAX} s")


EVENTS: Mapping[EventName, Callable[[Scene, Plan], tuple[int, tuple[Recording, Span]]]] = {
    "broker-restarts": _broker_restarts,
    "relay-drains": _relay_drains,
}

"""Events that disturb the service while an open loop loads it at half of saturation.

broker-restarts   RabbitMQ restarts in the middle of the run.
relay-drains      RabbitMQ was down while the service took events. The run begins when the relay drains them.
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
"""Share of a run before RabbitMQ restarts."""
BACKLOG = wrk.Load(connections=256, seconds=5)
Span = tuple[float, float]
"""Two moments of `time.monotonic`."""


class Scene(msgspec.Struct, frozen=True):
    servers: Servers
    service: Service
    generator: Generator


class RunPart(msgspec.Struct, frozen=True):
    """Latencies of one part of a run: the requests due during the event, or all others."""

    latency: Figures
    curve: list[tuple[float, float]]


class Event(msgspec.Struct, frozen=True):
    """The event lasts from `from_seconds` to `to_seconds` of the run. It ends when all earlier events are published."""

    per_second: float
    seconds: float
    from_seconds: float
    to_seconds: float
    backlog_events: int
    within: RunPart
    outside: RunPart
    reasons: dict[str, int]


def measure(name: EventName, scene: Scene, plan: Plan) -> Event:
    """Run the event. Raises `BenchFailed` if an answered event is not in the database, or is not published in time."""
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
        within=RunPart(figures(within), curve(within)),
        outside=RunPart(figures(outside), curve(outside)),
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
    """Return when all events older than this call are published. Raises `BenchFailed` on a timeout."""
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

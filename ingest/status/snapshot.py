"""The service's state for people: the types of `GET /status.json`, and how its figures come from two samples."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from ingest import __version__
from ingest.status.health import Report
from ingest.status.health import Status as HealthStatus
from ingest.status.samples import LATENCIES, SAMPLE_SECONDS, Sample, quantile

WINDOW_SECONDS = 10.0
"""Rates and latencies are of the last ten to fifteen seconds."""
AWAY_ELSEWHERE = "ok here, but another worker is without it"


class Limits(msgspec.Struct, frozen=True):
    """Of the settings, what the figures are to be compared with."""

    workers: int
    spool_bytes_max: int
    queue_events_max: int


class Workers(msgspec.Struct, frozen=True):
    alive: int
    wanted: int
    restarts: int
    """Workers that took the place of one that died."""


class Rates(msgspec.Struct, frozen=True):
    """Events a second; `refused` counts requests and items of batches."""

    accepted: float
    published: float
    refused: float


class Latency(msgspec.Struct, frozen=True):
    """Percentiles in seconds."""

    p50: float
    p95: float
    p99: float


class Backlog(msgspec.Struct, frozen=True):
    """Events in the outbox, and the age of the oldest; null where that is unknown."""

    events: int | None
    age_seconds: float | None


class Spool(msgspec.Struct, frozen=True):
    """Events on this machine's disk until the database takes them; `bytes_max` is 0 if there is no spool."""

    events: int
    bytes: int
    bytes_max: int
    age_seconds: float


class InHand(msgspec.Struct, frozen=True):
    """Events that wait for a commit, the most that may, and those that the broker has not confirmed yet."""

    queued: int
    queued_max: int
    unconfirmed: int


class Point(msgspec.Struct, frozen=True):
    """One of the last minutes' samples, against the one before it.

    `p99` is of answers, null without any; `backlog` is null where it was unknown.
    """

    time: float
    accepted: float
    p99: float | None
    backlog: int | None


class Refusal(msgspec.Struct, frozen=True):
    """How many were refused for one reason within the last minutes, and when it was last seen (Unix time)."""

    code: str
    count: int
    time: float


class Error(msgspec.Struct, frozen=True):
    """A warning or an error of the log: `time` is Unix time, `worker` the seat of the one that wrote it."""

    time: float
    level: str
    logger: str
    text: str
    worker: int


class Status(msgspec.Struct, frozen=True):
    """Of all workers, whichever answers. `totals` are counts since the start; a latency that nothing was measured of
    within the window is left out."""

    status: HealthStatus
    checks: dict[str, str]
    version: str
    time: float
    window_seconds: float
    workers: Workers
    rates: Rates
    totals: Rates
    latency_seconds: dict[str, Latency]
    backlog: Backlog
    spool: Spool
    in_hand: InHand
    history: list[Point]
    refusals: list[Refusal]
    errors: list[Error]


def status_of(
    report: Report, limits: Limits, now: Sample, history: Sequence[Sample], errors: Sequence[Error]
) -> Status:
    """`history` is in order of time, and older than `now`."""
    before = _begin_of_window(now, history)
    seconds = now.time - before.time
    count = now.count
    return Status(
        status=_overall(report, now),
        checks=_checks(report, now),
        version=__version__,
        time=round(now.time, 3),
        window_seconds=round(seconds, 1),
        workers=Workers(count("ingest_workers"), limits.workers, count("ingest_worker_restarts_total")),
        rates=_rates(now.since(before), seconds),
        totals=_rates(now, 1.0),
        latency_seconds=_latencies(now.since(before)),
        backlog=_backlog(now),
        spool=Spool(
            count("ingest_spool_events"),
            count("ingest_spool_bytes"),
            limits.spool_bytes_max,
            round(now.value("ingest_spool_age_seconds"), 1),
        ),
        in_hand=InHand(
            count("ingest_queued_events"),
            limits.queue_events_max * limits.workers,
            count("ingest_publish_inflight_events"),
        ),
        history=_points([*history, now] if _is_new(now, history) else history),
        refusals=_refusals([*history, now]),
        errors=list(errors),
    )


def _backlog(now: Sample) -> Backlog:
    events, age = now.known("ingest_backlog_events"), now.known("ingest_backlog_age_seconds")
    return Backlog(None if events is None else int(events), None if age is None else round(age, 1))


def _begin_of_window(now: Sample, history: Sequence[Sample]) -> Sample:
    """The youngest that is as old as the window; without one the oldest; without any, `now` itself."""
    old = [sample for sample in history if sample.time <= now.time - WINDOW_SECONDS]
    return old[-1] if old else history[0] if history else now


def _is_new(now: Sample, history: Sequence[Sample]) -> bool:
    """A point of a few milliseconds after the last one would tell of nothing but chance."""
    return not history or now.time - history[-1].time >= SAMPLE_SECONDS / 2


def _overall(report: Report, now: Sample) -> HealthStatus:
    """The worker that answers does not know what the others miss, but their gauges tell."""
    missing = "ingest_database_up", "ingest_broker_up"
    if report.status == "ready" and any(now.values.get(name) == 0 for name in missing):
        return "degraded"
    return report.status


def _checks(report: Report, now: Sample) -> dict[str, str]:
    checks = dict(report.checks)
    for name in "database", "broker":
        if checks.get(name) == "ok" and now.values.get(f"ingest_{name}_up") == 0:
            checks[name] = AWAY_ELSEWHERE
    return checks


def _rates(change: Sample, seconds: float) -> Rates:
    def rate(name: str) -> float:
        return round(change.value(name) / seconds, 2) if seconds > 0 else 0.0

    return Rates(
        rate("ingest_events_accepted_total"),
        rate("ingest_events_published_total"),
        rate("ingest_requests_refused_total"),
    )


def _latencies(change: Sample) -> dict[str, Latency]:
    found = {}
    for name, histogram in LATENCIES.items():
        buckets = change.buckets.get(histogram, {})
        p50, p95, p99 = (quantile(buckets, share) for share in (0.5, 0.95, 0.99))
        if p50 is not None and p95 is not None and p99 is not None:
            found[name] = Latency(p50, p95, p99)
    return found


def _points(samples: Sequence[Sample]) -> list[Point]:
    points = []
    for before, sample in pairwise(samples):
        seconds, change = sample.time - before.time, sample.since(before)
        latency = _latencies(change)
        shown = latency.get("answer")
        points.append(
            Point(
                round(sample.time, 1),
                round(change.value("ingest_events_accepted_total") / seconds, 1),
                shown.p99 if shown else None,
                _backlog(sample).events,
            )
        )
    return points


def _refusals(samples: Sequence[Sample]) -> list[Refusal]:
    """Those of the last minutes, the latest first."""
    counts: dict[str, int] = {}
    times: dict[str, float] = {}
    for before, sample in pairwise(samples):
        for code, count in sample.since(before).refused.items():
            if count > 0:
                counts[code] = counts.get(code, 0) + int(count)
                times[code] = round(sample.time, 1)
    return [Refusal(code, counts[code], times[code]) for code in sorted(times, key=lambda code: -times[code])]

"""Computes the figures of `GET /status.json` from samples of the metrics."""

from collections.abc import Sequence
from itertools import pairwise

from ingest import __version__
from ingest.status.health import Report, waiting_text
from ingest.status.health import Status as HealthStatus
from ingest.status.samples import HISTORY_SECONDS, LATENCIES, SAMPLE_SECONDS, Sample, quantile
from ingest.status.snapshot import (
    Backlog,
    Error,
    InHand,
    Latency,
    Limits,
    Point,
    Rates,
    Refusal,
    RefusedClient,
    Spool,
    Status,
    Workers,
)

WINDOW_SECONDS = 10.0
"""Rates and latencies cover the last 10 to 15 seconds: the window, and up to one sample more."""
AWAY_ELSEWHERE = "ok here, but another worker is without it"
FAILING_ELSEWHERE = "ok here, but another worker finds a problem: its log has the reason"


def status_of(
    report: Report,
    limits: Limits,
    now: Sample,
    history: Sequence[Sample],
    errors: Sequence[Error],
    refused_clients: Sequence[RefusedClient] = (),
) -> Status:
    """`history` is in the order of time, and older than `now`."""
    before = _begin_of_window(now, history)
    seconds = now.time - before.time
    count = now.count
    return Status(
        status=_overall(report, now),
        checks=_checks(report, now),
        version=__version__,
        time=round(now.time, 3),
        window_seconds=round(seconds, 1),
        workers=_workers(limits, now, history),
        rates=_rates(now.since(before), seconds),
        totals=_rates(now, 1.0),
        latency_seconds=_latencies(now.since(before)),
        backlog=_backlog(now),
        spool=Spool(
            count("ingest_spool_events"),
            count("ingest_spool_bytes"),
            int(now.value("ingest_spool_bytes_max", limits.spool_bytes_max)),
            round(now.value("ingest_spool_age_seconds"), 1),
        ),
        in_hand=InHand(
            count("ingest_queued_events"),
            int(now.value("ingest_queued_events_max", limits.queue_events_max * limits.workers)),
            count("ingest_publish_inflight_events"),
        ),
        history=_points([*history, now] if _is_new(now, history) else history),
        refusals=_refusals([*history, now]),
        refused_clients=list(refused_clients),
        errors=list(errors),
    )


def _workers(limits: Limits, now: Sample, history: Sequence[Sample]) -> Workers:
    """If no sample is from the begin of the window, the service is younger than the window."""
    restarts, died = now.count("ingest_worker_restarts_total"), now
    if history and history[0].time <= now.time - HISTORY_SECONDS + 2 * SAMPLE_SECONDS:
        died = now.since(history[0])
    wanted = int(now.value("ingest_workers_wanted", limits.workers))
    return Workers(now.count("ingest_workers"), wanted, restarts, died.count("ingest_worker_restarts_total"))


def _backlog(now: Sample) -> Backlog:
    events, age = now.known("ingest_backlog_events"), now.known("ingest_backlog_age_seconds")
    return Backlog(None if events is None else int(events), None if age is None else round(age, 1))


def _begin_of_window(now: Sample, history: Sequence[Sample]) -> Sample:
    """Return the newest sample that is at least as old as the window, else the oldest sample, else `now`."""
    old = [sample for sample in history if sample.time <= now.time - WINDOW_SECONDS]
    return old[-1] if old else history[0] if history else now


def _is_new(now: Sample, history: Sequence[Sample]) -> bool:
    """A point only a few milliseconds after the last one would show nothing but chance."""
    return not history or now.time - history[-1].time >= SAMPLE_SECONDS / 2


def _overall(report: Report, now: Sample) -> HealthStatus:
    """The gauges say whether another worker has lost its database or broker. The answering worker sees only its own."""
    missing = any(now.values.get(name) == 0 for name in ("ingest_database_up", "ingest_broker_up"))
    if report.status == "ready" and (missing or now.failing & report.checks.keys()):
        return "degraded"
    return report.status


def _checks(report: Report, now: Sample) -> dict[str, str]:
    """Return the answering worker's checks, with those that only other workers find, and with the spools of all."""
    elsewhere: dict[str, str] = dict.fromkeys(now.failing, FAILING_ELSEWHERE)
    elsewhere |= {name: AWAY_ELSEWHERE for name in ("database", "broker") if now.values.get(f"ingest_{name}_up") == 0}
    waiting = waiting_text(now.count("ingest_spool_events"), now.count("ingest_spool_set_aside_events"))
    if waiting:
        elsewhere["spool"] = waiting
    return {name: elsewhere.get(name, text) if text == "ok" else text for name, text in report.checks.items()}


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
    """Refusals of the last minutes, the newest first."""
    counts: dict[str, int] = {}
    times: dict[str, float] = {}
    for before, sample in pairwise(samples):
        for code, count in sample.since(before).refused.items():
            if count > 0:
                counts[code] = counts.get(code, 0) + int(count)
                times[code] = round(sample.time, 1)
    return [Refusal(code, counts[code], times[code]) for code in sorted(times, key=lambda code: -times[code])]

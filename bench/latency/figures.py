"""Percentiles, from HdrHistograms of microseconds with three digits."""

import math
from collections.abc import Iterable, Sequence

import msgspec
from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]  # it ships no types

from bench.harness.wrk import Answers
from bench.openloop.plan import Recording

LEAST_US, MOST_US, DIGITS = 1, 600_000_000, 3
CURVE = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 100.0)
"""Percentiles of a curve, denser in the steep part."""


class Figures(msgspec.Struct, frozen=True):
    """Times in ms; NaN (null in JSON) if nothing was answered."""

    answered: int
    failures: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class Round(msgspec.Struct, frozen=True):
    """One turn of a load. `late_…` is the generator's own delay, which is part of the latency."""

    latency: Figures
    late_p50_ms: float
    late_p99_ms: float
    generator_cpu_us: float
    """CPU time per request."""
    service_cpu_us: float
    """CPU time per request."""
    reasons: dict[str, int]


def round_of(recording: Recording, service_cpu_seconds: float) -> Round:
    lateness = histogram(recording.lateness)
    return Round(
        latency=figures(recording.latency),
        late_p50_ms=_ms(lateness, 50),
        late_p99_ms=_ms(lateness, 99),
        generator_cpu_us=recording.cpu_seconds * 1e6 / max(1, len(recording.due)),
        service_cpu_us=service_cpu_seconds * 1e6 / max(1, len(recording.due)),
        reasons=dict(recording.failures),
    )


def answers_of(recording: Recording, seconds: float) -> Answers:
    """Return the recording in the form of a closed loop's counts."""
    found = figures(recording.latency)
    return Answers(
        requests=len(recording.due),
        seconds=seconds,
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        max_ms=found.max_ms,
        not_2xx=found.failures,
        socket_errors=0,
        cpu_seconds=recording.cpu_seconds,
    )


def figures(latency: Sequence[float]) -> Figures:
    """Compute the figures of latencies in seconds; NaN marks a failure."""
    filled = histogram(latency)
    answered = filled.get_total_count()
    p50, p90, p99, p999, most = (_ms(filled, percent) for percent in (50, 90, 99, 99.9, 100))
    return Figures(answered, len(latency) - answered, p50, p90, p99, p999, most)


def curve(latency: Iterable[float]) -> list[tuple[float, float]]:
    """Return pairs of percentile and ms."""
    filled = histogram(latency)
    return [(percent, _ms(filled, percent)) for percent in CURVE]


def split(recording: Recording, begin: float, end: float) -> tuple[list[float], list[float]]:
    """Return the latencies of requests due between two times of `time.monotonic`, and those of all others."""
    within: list[float] = []
    outside: list[float] = []
    for due, latency in zip(recording.due, recording.latency, strict=True):
        (within if begin <= recording.started + due < end else outside).append(latency)
    return within, outside


def histogram(seconds: Iterable[float]) -> HdrHistogram:
    filled = HdrHistogram(LEAST_US, MOST_US, DIGITS)
    for value in seconds:
        if not math.isnan(value):
            filled.record_value(max(LEAST_US, round(value * 1e6)))
    return filled


def _ms(filled: HdrHistogram, percent: float) -> float:
    """Return a percentile in ms. HdrHistogram rounds it up to the end of its step, by at most 0.1 %."""
    return float(filled.get_value_at_percentile(percent)) / 1e3 if filled.get_total_count() else math.nan

"""One round: a load on a target, its answers, and the CPU time of each component."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import msgspec

from bench.harness import wrk
from bench.harness.cpu import cpu_seconds, used
from bench.harness.targets import BenchFailed, Target


class Round(msgspec.Struct, frozen=True):
    """`cpu_us` is per event. It includes the work after the last answer, until all events are published."""

    events: int
    failures: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: Mapping[str, float]
    drain_seconds: float


def measure(target: Target, load: wrk.Load) -> Round:
    """Load the target in a closed loop. Raises `BenchFailed`."""
    return measure_with(lambda: wrk.run(target.port, target.token, load), target)


def measure_with(generate: Callable[[], wrk.Answers], target: Target) -> Round:
    """Measure the target while `generate` loads it.

    Raises `BenchFailed` if events are missing in the database, or are not published in time.
    """
    target.clear()
    components = target.components()
    before = cpu_seconds(components)
    answers = generate()
    ended = time.monotonic()
    target.drain()
    drain_seconds = time.monotonic() - ended
    seconds = used(before, cpu_seconds(components))
    rows = target.rows()
    if rows is not None and rows < answers.events:
        raise BenchFailed(f"{answers.events} events were answered 200, {rows} are in the database")
    return round_of(answers, seconds, drain_seconds)


def round_of(answers: wrk.Answers, seconds: Mapping[str, float], drain_seconds: float) -> Round:
    """Combine a round's figures. Raises `BenchFailed` if no request was answered 200."""
    if not answers.events:
        raise BenchFailed("no request was answered 200")
    components = {**seconds, "generator": answers.cpu_seconds}
    return Round(
        events=answers.events,
        failures=answers.failures,
        per_second=answers.events / answers.seconds,
        p50_ms=answers.p50_ms,
        p99_ms=answers.p99_ms,
        cpu_us={name: value * 1e6 / answers.events for name, value in components.items()},
        drain_seconds=drain_seconds,
    )


def ratio(rounds: Sequence[Round], references: Sequence[Round]) -> float:
    """Return the median over neighboring rounds of the service's CPU time for an event ÷ the reference's."""
    pairs = zip(rounds, references, strict=True)
    return median(round_.cpu_us["service"] / reference.cpu_us["service"] for round_, reference in pairs)

"""The result of `ingest check`, as text and as JSON."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ingest.cli.check.events import deletion
from ingest.cli.check.verdict import Budgets, Measured, Outcome, Verdict, in_ms
from ingest.cli.top.screen import duration

REASONS_SHOWN = 5


class Report(msgspec.Struct, frozen=True):
    """Latencies in milliseconds, from the scheduled time; `generator_late_ms` is the generator's own part of them."""

    verdict: Outcome
    reasons: Sequence[str]
    url: str
    run: str
    rate: float
    seconds: int
    connections: int
    accepted: int
    failed: int
    errors: Mapping[str, int]
    unsent: int
    latency_ms: Mapping[str, float]
    generator_late_ms: Mapping[str, float]
    generator_cpu_share: float
    budgets: Budgets
    deletion: str
    """The SQL that deletes the run's events."""


def report_of(
    verdict: Verdict,
    measured: Measured,
    budgets: Budgets,
    *,
    url: str,
    run: str,
    rate: float,
    seconds: int,
    connections: int,
) -> Report:
    return Report(
        verdict.outcome,
        verdict.reasons,
        url,
        run,
        rate,
        seconds,
        connections,
        len(measured.latencies),
        measured.failed,
        measured.errors,
        measured.unsent,
        in_ms(measured.latencies),
        in_ms(measured.lags),
        round(measured.cpu_share, 3),
        budgets,
        deletion(run),
    )


def lines_of(report: Report) -> Iterator[str]:
    yield f"{report.accepted} events accepted, {report.failed} failed; run {report.run}"
    errors = sorted(report.errors.items(), key=lambda item: -item[1])
    yield from (f"  {count} times: {reason}" for reason, count in errors[:REASONS_SHOWN])
    if len(errors) > REASONS_SHOWN:
        yield f"  and {len(errors) - REASONS_SHOWN} other reasons"
    yield f"latency from the scheduled time: {_figures(report.latency_ms)}"
    yield f"generator: {_figures(report.generator_late_ms)} late, {report.generator_cpu_share:.0%} of a core"
    yield from report.reasons
    yield f"To delete the events: {report.deletion}"
    yield report.verdict.upper()


def _figures(milliseconds: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {duration(value / 1000)}" for name, value in milliseconds.items())

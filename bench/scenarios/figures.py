"""The figures of a scenario, computed from locust's statistics. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

EVENT = "event"
"""The prefix of the names of all requests that must be answered 200; only their times count."""
BEFORE, BURST, AFTER = f"{EVENT}, before the burst", f"{EVENT}, in the burst", f"{EVENT}, after the burst"
REFERENCE = "reference: health"
"""Requests on the same connections that need no database. Their time is an event's time without the database."""
MS_MIN = 5.0
"""The least denominator of a ratio, as locust rounds to milliseconds."""

KEPT, BROKEN = 0, 1
"""Exit codes that the scenarios set."""

Entries = Sequence[Mapping[str, Any]]
"""Locust's statistics, one entry for each name; `response_times` maps milliseconds to counts."""
Times = Mapping[float, int]


def figures(entries: Entries) -> dict[str, float]:
    """Compute the failures, if there were requests, and the times, if events and references were answered."""
    if not entries:
        return {}
    failures = float(sum(entry["num_failures"] for entry in entries))
    times, references = times_of(entries, EVENT), times_of(entries, REFERENCE)
    if not times or not references:
        return {"failures": failures}
    return {
        "failures": failures,
        "wait_ratio": _ratio(times, references, 0.5),
        "tail_ratio": _ratio(times, references, 0.99),
        "median_ms": percentile(times, 0.5),
        "p99_ms": percentile(times, 0.99),
        **_recovery(times_of(entries, BEFORE), times_of(entries, AFTER)),
    }


def _recovery(before: Times, after: Times) -> dict[str, float]:
    """Compare the medians before and after a burst; empty without a burst."""
    return {"recovery_ratio": _ratio(after, before, 0.5)} if before and after else {}


def _ratio(times: Times, references: Times, share: float) -> float:
    return percentile(times, share) / max(percentile(references, share), MS_MIN)


def named(scenario: str, measured: Mapping[str, float]) -> dict[str, float]:
    """Name the figures as `budgets.toml` does: `scenario.NAME.FIGURE`."""
    return {f"scenario.{scenario}.{figure}": value for figure, value in measured.items()}


def events_answered(entries: Entries) -> int:
    """Count the events that were answered 200."""
    return sum(entry["num_requests"] - entry["num_failures"] for entry in entries if _is_event(entry, EVENT))


def times_of(entries: Entries, name: str) -> Times:
    """Return milliseconds → count of all requests whose names begin with `name`."""
    times: Counter[float] = Counter()
    for entry in entries:
        if _is_event(entry, name):
            times.update({float(ms): count for ms, count in entry["response_times"].items()})
    return times


def _is_event(entry: Mapping[str, Any], name: str) -> bool:
    return str(entry["name"]).startswith(name)


def percentile(times: Times, share: float) -> float:
    """Return the least time that a `share` of all requests did not exceed."""
    left = share * sum(times.values())
    for time in sorted(times):
        left -= times[time]
        if left <= 0:
            return time
    return max(times)

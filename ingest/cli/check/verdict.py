"""Decides from the measurements of a run if the service keeps its budgets. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

CPU_SHARE_MAX = 0.9
"""Above this share of one core the generator itself delays answers: Python runs one thread at a time."""
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}

Outcome = Literal["met", "missed", "not measured"]


class Budgets(msgspec.Struct, frozen=True):
    """Milliseconds, and a number of events. None sets no budget."""

    p50: float | None = None
    p99: float | None = None
    errors_max: int = 0


class Measured(msgspec.Struct, frozen=True):
    """Each sequence has one number in seconds for each answered event, in the same order.

    `latencies` count from the scheduled time. `lags` are the generator's part of them: the time in which an event was
    due and had a free connection, but was not sent yet.
    """

    latencies: Sequence[float]
    lags: Sequence[float]
    errors: Mapping[str, int]
    """Reason → events that were not accepted."""
    unsent: int
    """Events that found no free connection until the end."""
    cpu_share: float
    """CPU time of the generator per second of the run."""

    @property
    def failed(self) -> int:
        return sum(self.errors.values()) + self.unsent


class Verdict(msgspec.Struct, frozen=True):
    outcome: Outcome
    reasons: Sequence[str]
    """A sentence for each budget."""


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed. 0 for no values."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0


def in_ms(values: Sequence[float]) -> dict[str, float]:
    return {name: round(quantile(values, share) * 1000, 3) for name, share in QUANTILES.items()}


def judge(measured: Measured, budgets: Budgets) -> Verdict:
    """A budget is missed only if the service breaks it without the generator's own delays."""
    found = [
        _latency("p50", measured, budgets.p50),
        _latency("p99", measured, budgets.p99),
        _errors(measured, budgets.errors_max),
    ]
    outcomes, reasons = zip(*filter(None, found), strict=True)
    busy = measured.cpu_share > CPU_SHARE_MAX
    if "missed" in outcomes and not busy:
        return Verdict("missed", reasons)
    if set(outcomes) == {"met"}:
        return Verdict("met", reasons)
    why = f"used {measured.cpu_share:.0%} of a core" if busy else "sent events late"
    kept_up = f"The generator could not keep up: it {why}. Use a lower --rate, or a host with an idle CPU."
    return Verdict("not measured", [*reasons, kept_up])


def _latency(name: str, measured: Measured, budget: float | None) -> tuple[Outcome, str] | None:
    if budget is None:
        return None
    if not measured.latencies:
        return "missed", f"{name}: no event was accepted."
    share = QUANTILES[name]
    total = quantile(measured.latencies, share) * 1000
    if total <= budget:
        return "met", f"{name} is {total:.3g} ms, within {budget:g} ms."
    own = [latency - lag for latency, lag in zip(measured.latencies, measured.lags, strict=True)]
    service = quantile(own, share) * 1000
    if service > budget:
        return "missed", f"{name} is {total:.3g} ms, above {budget:g} ms."
    return "not measured", f"{name} is {total:.3g} ms, but {service:.3g} ms without the generator's own delays."


def _errors(measured: Measured, errors_max: int) -> tuple[Outcome, str]:
    text = f"{measured.failed} events failed, {errors_max} may."
    if measured.unsent:
        text += f" {measured.unsent} of them found no free connection: the service was too slow for --rate."
    return ("missed" if measured.failed > errors_max else "met"), text

"""Cells of the tables: the figures of a target's rounds; and the line above a table."""

from collections.abc import Sequence
from statistics import median

from bench.harness.rounds import Round
from bench.report.stamp import Stamp

COMPONENTS = ("service", "database", "broker", "generator")


def headline(taken: Stamp) -> str:
    python = f"Python {taken.versions['python']}, {taken.versions['python_build']}"
    return f"{taken.commit} on {taken.machine}; {python}; load average before: {taken.load_average:.2f}"


def rate(own: Sequence[Round]) -> str:
    """Format events a second: the median, the least and the most."""
    rates = [round_.per_second for round_ in own]
    return f"{median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"


def latency(own: Sequence[Round]) -> list[str]:
    """Format p50 and p99 in milliseconds, the medians over the rounds."""
    return [f"{median(round_.p50_ms for round_ in own):.1f}", f"{median(round_.p99_ms for round_ in own):.1f}"]


def cpu(own: Sequence[Round]) -> list[str]:
    """Format the CPU µs an event of each of `COMPONENTS`; a dash where it is unknown."""
    return [_cpu(own, component) for component in COMPONENTS]


def _cpu(own: Sequence[Round], component: str) -> str:
    if not all(component in round_.cpu_us for round_ in own):
        return "-"
    return f"{median(round_.cpu_us[component] for round_ in own):.1f}"

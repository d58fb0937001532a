"""`make budgets`: measures the figures of `budgets.toml`, prints the verdicts, and exits with 1 if a budget is broken.

Absolute times and rates can break the run only with BENCH_ABSOLUTE=1.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import click

from bench.harness import rounds, targets
from bench.harness.wrk import Load
from bench.micro.figures import measure as measure_micro
from bench.report.verdicts import broken, judge, of_parts, read_budgets, report
from bench.scenarios import runs
from bench.studies import refusals

LOAD = Load(connections=256, seconds=1)
PAIRS = 9
"""Short rounds in turn: the speed of a shared machine changes within seconds."""
REFUSAL_ROUNDS = 3

Figures = dict[str, float]
NO_REPORTS: Mapping[str, Path] = {}


class Measured:
    """The figures of all parts, and the reason of each part that failed."""

    def __init__(self) -> None:
        self.figures: Figures = {}
        self.failed: dict[str, str] = {}

    def attempt(self, name: str, part: Callable[[], Figures]) -> None:
        """Measure a part. The next part is measured even if this one fails."""
        try:
            self.figures |= part()
        except (targets.BenchFailed, subprocess.SubprocessError) as exc:
            self.failed[name] = str(exc)


def measure_saturation(servers: targets.Servers) -> Figures:
    """Measure the service with each listener, and the bare no-op of each listener, in turn."""
    with (
        targets.noop("asgi") as granian_noop,
        targets.noop("httptools") as direct_noop,
        targets.service(servers, "quorum", environment={"INGEST_LISTENER": "granian"}) as granian,
        targets.service(servers, "quorum", environment={"INGEST_LISTENER": "direct"}) as direct,
    ):
        loaded = (granian_noop, granian, direct_noop, direct)
        found = [[rounds.measure(target, LOAD) for target in loaded] for _ in range(PAIRS + 1)]
    bare, full, bare_direct, full_direct = zip(*found[1:], strict=True)  # the first warms up
    return {
        "saturation.cpu_ratio": rounds.ratio(full, bare),
        "saturation.direct_ratio": rounds.ratio(full_direct, bare_direct),
        "saturation.failures": sum(round_.failures for each in found for round_ in each),
        "saturation.events_per_second": median(round_.per_second for round_ in full_direct),
        "saturation.cpu_us": median(round_.cpu_us["service"] for round_ in full_direct),
    }


def measure_refusals(servers: targets.Servers) -> Figures:
    """Measure refused requests against accepted events. Each figure is that of the listener that does worse."""
    measured = refusals.run(servers, LOAD, REFUSAL_ROUNDS).values()
    return {
        f"refusals.{status}": max(refusals.ratio(cpu, status) for cpu in measured) for status in refusals.REFERENCES
    }


def measure_scenarios(
    servers: targets.Servers,
    loads: Mapping[str, runs.Load],
    measured: Measured,
    reports: Mapping[str, Path] = NO_REPORTS,
) -> None:
    """Measure the scenarios one after another on the same service. Locust writes its reports to the given files."""
    with targets.service(servers, "quorum") as service:
        for name, load in loads.items():
            measured.attempt(f"scenario.{name}", partial(runs.measure, service, name, load, reports.get(name)))


PARTS = ("micro", "saturation", "refusals", "scenario", *(f"scenario.{name}" for name in runs.SCENARIOS))


def measure(parts: Sequence[str]) -> Measured:
    measured = Measured()
    if "micro" in parts:
        measured.attempt("micro", measure_micro)
    loads = {name: load for name, load in runs.SCENARIOS.items() if {"scenario", f"scenario.{name}"} & {*parts}}
    if loads or {"saturation", "refusals"} & {*parts}:
        with targets.servers() as servers:
            if "saturation" in parts:
                measured.attempt("saturation", partial(measure_saturation, servers))
            if "refusals" in parts:
                measured.attempt("refusals", partial(measure_refusals, servers))
            if loads:
                measure_scenarios(servers, loads, measured)
    return measured


@click.command(help=__doc__)
@click.option("--only", "parts", multiple=True, type=click.Choice(PARTS), help="This part; may be repeated.")
def main(parts: Sequence[str]) -> None:
    chosen = parts or ("micro", "saturation", "refusals", "scenario")
    absolute = bool(os.environ.get("BENCH_ABSOLUTE"))
    measured = measure(chosen)
    verdicts = judge(of_parts(read_budgets(), chosen), measured.figures, absolute)
    print(report(verdicts, measured.failed))
    sys.exit(1 if broken(verdicts) else 0)


if __name__ == "__main__":
    main()

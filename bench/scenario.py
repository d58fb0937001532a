"""Runs locust's scenarios one after another, and exits with 1 if one of their budgets is broken.

The scenarios load a service with a private database and broker. In the end every event that was answered 200 must be
in the database and published. With --host they load that instance instead, which keeps the events.

Each scenario writes locust's report, and the verdicts of its budgets, to scenario-NAME.html, in bench/results/ or
beside the file of --out. Absolute times can break the run only with BENCH_ABSOLUTE=1.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path

import click
import msgspec

from bench.budgets import Figures, Measured, measure_scenarios
from bench.harness import targets
from bench.report.cells import headline
from bench.report.records import FOLDER as RESULTS
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.verdicts import Verdict, broken, judge, of_parts, read_budgets, report
from bench.scenarios.runs import SCENARIOS, Load, judgeable, run

METHOD = (
    "locust in a closed loop: a user waits for an answer, and pauses before the next request. Times count only events "
    "that must be answered 200, in whole milliseconds up to 100. Failures count all requests."
)


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    host: str
    loads: Mapping[str, Load]
    figures: Figures
    verdicts: Sequence[Verdict]
    failed: Mapping[str, str]
    """Part → why it could not be measured."""


@click.command(help=__doc__)
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="May be repeated.")
@click.option("--seconds", default=30, show_default=True, type=click.IntRange(min=1), help="Length of each.")
@click.option("--users", type=click.IntRange(min=1), help="Concurrent users (default: each scenario's own number).")
@click.option("--host", help="A running instance, such as http://localhost:8000.")
@click.option("--token", envvar="BENCH_TOKEN", help="A token of that instance; may also be given as BENCH_TOKEN.")
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(
    names: Sequence[str], seconds: int, users: int | None, host: str | None, token: str | None, out: Path | None
) -> None:
    if host and not token:
        raise click.UsageError("--host needs --token, a token that this instance accepts.")
    loads = {name: Load(users or SCENARIOS[name].users, seconds) for name in names or SCENARIOS}
    reports = {name: (out.parent if out else RESULTS) / f"scenario-{name}.html" for name in loads}
    measured = Measured()
    if host:
        taken = _on_host(loads, measured, host, token or "", reports)
    else:
        taken = _on_private_service(loads, measured, reports)
    budgets = of_parts(read_budgets(), [f"scenario.{name}" for name in loads])
    verdicts = judge(budgets, measured.figures, bool(os.environ.get("BENCH_ABSOLUTE")))
    result = Result(taken, METHOD, host or "private", loads, measured.figures, verdicts, measured.failed)
    file = record(result, "scenarios", result.stamp, out or (RESULTS / "scenarios-host.json" if host else None))
    for name, html in reports.items():
        _add_verdicts(html, f"scenario.{name}", verdicts, measured.failed)
    print(f"{headline(result.stamp)}; {file.name}, {', '.join(html.name for html in reports.values())}")
    print(report(verdicts, measured.failed))
    sys.exit(1 if broken(verdicts) else 0)


def _on_private_service(loads: Mapping[str, Load], measured: Measured, reports: Mapping[str, Path]) -> Stamp:
    with targets.servers() as servers:
        taken = stamp(servers)
        measure_scenarios(servers, loads, measured, reports)
    return taken


def _on_host(
    loads: Mapping[str, Load], measured: Measured, host: str, token: str, reports: Mapping[str, Path]
) -> Stamp:
    taken = stamp(None)
    for name, load in loads.items():
        measured.attempt(f"scenario.{name}", partial(_measure, host, token, name, load, reports[name]))
    return taken


def _measure(host: str, token: str, name: str, load: Load, html: Path) -> Figures:
    return judgeable(name, run(host, token, name, load, html), load)


def _add_verdicts(html: Path, part: str, verdicts: Sequence[Verdict], failed: Mapping[str, str]) -> None:
    """Write the verdicts of a scenario into the report that locust wrote."""
    own = [verdict for verdict in verdicts if verdict.name.startswith(f"{part}.")]
    text = report(own, {part: failed[part]} if part in failed else {})
    with html.open("a") as file:
        file.write(f"\n<h2>Budgets</h2>\n<pre>{escape(text)}</pre>\n")


if __name__ == "__main__":
    main()

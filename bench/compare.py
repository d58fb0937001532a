"""Compares the working tree with the revision BASE: faster, slower, or no difference seen.

Both services run all the time on the same private database server and broker. Each has its own database and queue.
The generator loads them in turn for short rounds, and the order alternates. Each figure is compared by the ratio of
neighboring rounds. Exits with 1 if the working tree is slower by more than a figure's bound, and the whole spread is
on the slower side. With --base-python the base runs on another Python, and BASE may be the same revision: HEAD.
With --rate both get this many events a second in an open loop, and latency counts from the time each event is due.
"""

import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec

from bench.harness import rounds, targets
from bench.harness.rounds import Round
from bench.harness.worktrees import UnknownRevision, commit_of, worktree
from bench.harness.wrk import Load
from bench.latency.figures import answers_of
from bench.openloop.generator import Generator, generator
from bench.openloop.plan import Plan
from bench.paths import ROOT
from bench.report.cells import headline
from bench.report.comparison import CONFIDENCE, FIGURES, ROUNDS_MIN, Comparison, compare
from bench.report.interpreter import interpreter
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table

HEAD = ("figure", "base", "head", "head ÷ base", "spread", "slower by at most", "verdict")
LOADS = {
    False: "wrk in a closed loop",
    True: "an open loop with Poisson arrivals at a fixed rate; latency counts from the due time",
}
METHOD = (
    "Each request has its own body. Base and head are loaded in turn, on an empty table and "
    "queue; the order alternates. The ratio is the median over rounds of head ÷ base. The spread is the range of "
    f"ratios that holds their true median with {CONFIDENCE:.0%} confidence (sign test). Both run on the same Python "
    "with the same installed packages, unless `base_python` names another. Load: "
)

PYTHON = click.Path(path_type=Path, exists=True)


class Side(msgspec.Struct, frozen=True):
    """One of the two services: its tree, the Python that runs it, and settings of its own."""

    tree: Path
    python: Path
    environment: Mapping[str, str]


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    base: str
    base_python: str
    head: str
    load: Load
    rate: float | None
    """Events a second of the open loop; None for the closed loop."""
    listener: str | None
    comparisons: Mapping[str, Comparison]
    rounds: Mapping[str, Sequence[Round]]


@click.command(help=__doc__)
@click.argument("base")
@click.option("--head", type=click.Path(path_type=Path, exists=True), default=ROOT, help="Use this tree as head.")
@click.option("--base-python", type=PYTHON, default=sys.executable, help="Run the base on this Python.")
@click.option("--rounds", "count", default=12, show_default=True, type=click.IntRange(min=ROUNDS_MIN))
@click.option("--seconds", default=2, show_default=True, help="Length of each turn.")
@click.option("--connections", default=256, show_default=True)
@click.option("--mode", default="quorum", show_default=True, type=click.Choice(targets.MODES))
@click.option("--rate", type=click.FloatRange(min=1), help="Events a second of an open loop, in place of wrk.")
@click.option("--listener", type=click.Choice(["granian", "direct"]), help="INGEST_LISTENER of the head.")
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(
    base: str,
    head: Path,
    base_python: Path,
    count: int,
    seconds: int,
    connections: int,
    mode: targets.Mode,
    rate: float | None,
    listener: str | None,
    out: Path | None,
) -> None:
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the worktree is removed
    load = Load(connections, seconds)
    try:
        commit = commit_of(base)
    except UnknownRevision as exc:
        raise click.BadParameter(str(exc), param_hint="BASE") from exc
    with worktree(commit) as tree, targets.servers() as servers:
        taken = stamp(servers)
        sides = {
            "base": Side(tree, base_python.absolute(), {}),
            "head": Side(head.resolve(), Path(sys.executable), {"INGEST_LISTENER": listener} if listener else {}),
        }
        measured = run(servers, sides, load, count, mode, rate)
    compared = {name: compare(figure, measured["base"], measured["head"]) for name, figure in FIGURES.items()}
    name = "the working tree" if head == ROOT else head.name
    base_on = str(interpreter(str(base_python)))
    method = METHOD + LOADS[rate is not None] + "."
    result = Result(taken, method, commit, base_on, name, load, rate, listener, compared, measured)
    record(result, "compare", taken, out)
    print(f"{headline(taken)}\nbase {commit[:7]} on Python {base_on}")
    print(
        f"{count} rounds of {seconds} s, {connections} connections, {mode}{f', {rate:,.0f} events/s' if rate else ''}"
    )
    print(report(compared))
    sys.exit(1 if any(comparison.fails for comparison in compared.values()) else 0)


def run(
    servers: targets.Servers,
    sides: Mapping[str, Side],
    load: Load,
    count: int,
    mode: targets.Mode,
    rate: float | None,
) -> dict[str, list[Round]]:
    """Measure the sides in interleaved rounds. One more round warms up first and does not count."""
    with ExitStack() as stack:
        loaded = {
            name: stack.enter_context(
                targets.service(servers, mode, tree=side.tree, python=side.python, environment=side.environment)
            )
            for name, side in sides.items()
        }
        openloop = stack.enter_context(generator()) if rate else None
        measured: dict[str, list[Round]] = {name: [] for name in loaded}
        for number in range(count + 1):
            for name in sorted(loaded, reverse=number % 2 == 1):
                if openloop and rate:
                    measured[name].append(at_rate(openloop, loaded[name], load, rate, seed=number))
                else:
                    measured[name].append(rounds.measure(loaded[name], load))
    return {name: made[1:] for name, made in measured.items()}


def at_rate(openloop: Generator, target: targets.Target, load: Load, rate: float, seed: int) -> Round:
    """Load the target in an open loop. Both sides get the same arrivals in the same round."""
    plan = Plan(target.port, target.token, rate, load.seconds, seed=seed, connections_max=load.connections)
    return rounds.measure_with(lambda: answers_of(openloop.start(plan).result(), load.seconds), target)


def report(compared: Mapping[str, Comparison]) -> str:
    """Return a table, and a line for each figure that fails."""
    rows = [_row(name, comparison) for name, comparison in compared.items()]
    failed = [
        f"slower: {name} is {comparison.ratio:.2f} times that of base, beyond its bound of {_bound(name)}."
        for name, comparison in compared.items()
        if comparison.fails
    ]
    return "\n".join([table(HEAD, rows), *failed, f"compare: {len(rows) - len(failed)} passed, {len(failed)} failed"])


def _row(name: str, comparison: Comparison) -> list[str]:
    return [
        name,
        f"{comparison.base:,.1f}",
        f"{comparison.head:,.1f}",
        f"{comparison.ratio:.3f}",
        f"{comparison.least:.3f}-{comparison.most:.3f}",
        _bound(name),
        comparison.outcome,
    ]


def _bound(name: str) -> str:
    return f"{FIGURES[name].slower_max:.0%}"


if __name__ == "__main__":
    main()

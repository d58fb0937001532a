"""Measures when a consumer of the stream gets an event: from the working tree, and from the revision BASE.

Both services run all the time on the same private servers, each with its own database and stream. An open loop loads
them in turn for short rounds, and the order alternates. Answer and arrival count from the time each event is due.
"""

import math
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import click
import msgspec

from bench.harness import targets
from bench.harness.arrivals import Arrivals, arrivals
from bench.harness.worktrees import UnknownRevision, commit_of, worktree
from bench.latency.figures import Figures, figures
from bench.openloop.generator import Generator, generator
from bench.openloop.plan import Plan, Recording
from bench.paths import ROOT
from bench.report.cells import headline
from bench.report.comparison import CONFIDENCE, ROUNDS_MIN, spread
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table
from tests.services import wait_until

METHOD = (
    "A consumer reads the whole stream of each side. Poisson arrivals at a fixed rate; times count from the due time. "
    "Base and head are loaded in turn; the order alternates. The ratio is the median over rounds of head ÷ base, and "
    f"the spread is the range that holds its true median with {CONFIDENCE:.0%} confidence (sign test)."
)
HEAD = ("figure", "base", "head", "head ÷ base", "spread")
ARRIVAL_SECONDS_MAX = 20.0
FIGURES = {
    "answer p50 ms": lambda made: made.answer.p50_ms,
    "answer p99 ms": lambda made: made.answer.p99_ms,
    "arrival p50 ms": lambda made: made.arrival.p50_ms,
    "arrival p99 ms": lambda made: made.arrival.p99_ms,
}


class Round(msgspec.Struct, frozen=True):
    answer: Figures
    arrival: Figures


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    base: str
    head: str
    rate: float
    workers: int
    rounds: Mapping[str, Sequence[Round]]


@click.command(help=__doc__)
@click.argument("base")
@click.option("--head", type=click.Path(path_type=Path, exists=True), default=ROOT, help="Use this tree as head.")
@click.option("--rounds", "count", default=8, show_default=True, type=click.IntRange(min=ROUNDS_MIN))
@click.option("--seconds", default=4, show_default=True, help="Length of each turn.")
@click.option("--rate", default=1500.0, show_default=True, help="Events a second.")
@click.option("--workers", default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(base: str, head: Path, count: int, seconds: int, rate: float, workers: int, out: Path | None) -> None:
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the worktree is removed
    try:
        commit = commit_of(base)
    except UnknownRevision as exc:
        raise click.BadParameter(str(exc), param_hint="BASE") from exc
    with worktree(commit) as tree, targets.servers() as servers:
        taken = stamp(servers)
        measured = run(servers, {"base": tree, "head": head.resolve()}, count, seconds, rate, workers)
    name = "the working tree" if head == ROOT else head.name
    record(Result(taken, METHOD, commit, name, rate, workers, measured), "arrival", taken, out)
    print(f"{headline(taken)}\nbase {commit[:7]}, head {name}")
    print(f"{count} rounds of {seconds} s, {rate:,.0f} events/s, {workers} workers")
    print(table(HEAD, [row(figure, measured) for figure in FIGURES]))


def run(
    servers: targets.Servers, trees: Mapping[str, Path], count: int, seconds: int, rate: float, workers: int
) -> dict[str, list[Round]]:
    """Measure both trees in interleaved rounds. One more round warms up first and does not count."""
    measured: dict[str, list[Round]] = {name: [] for name in trees}
    with ExitStack() as stack:
        services = {
            name: stack.enter_context(targets.service(servers, "stream", workers, tree)) for name, tree in trees.items()
        }
        consumed = {
            name: stack.enter_context(arrivals(servers.rabbitmq.stream_url, service.queue))
            for name, service in services.items()
        }
        loop = stack.enter_context(generator())
        for number in range(count + 1):
            for name in sorted(trees, reverse=number % 2 == 1):
                service = services[name]
                plan = Plan(service.port, service.token, rate, seconds, seed=number)
                measured[name].append(measure(loop, plan, consumed[name]))
                service.drain()
                service.clear()
    return {name: made[1:] for name, made in measured.items()}


def measure(loop: Generator, plan: Plan, consumed: Arrivals) -> Round:
    """Raises `BenchFailed` if an answered event does not arrive in time."""
    consumed.times.clear()
    recording = loop.start(plan).result()
    answer = figures(recording.latency)
    if not wait_until(lambda: len(consumed.times) >= answer.answered, ARRIVAL_SECONDS_MAX):
        missing = answer.answered - len(consumed.times)
        raise targets.BenchFailed(f"{missing} answered events have not arrived after {ARRIVAL_SECONDS_MAX:g} s")
    return Round(answer, figures(arrived(recording, consumed.times)))


def arrived(recording: Recording, times: Mapping[int, float]) -> list[float]:
    """Return the time from due to arrival of each request; NaN if its event has not arrived."""
    return [times.get(number, math.nan) - recording.started - due for number, due in enumerate(recording.due)]


def row(figure: str, measured: Mapping[str, Sequence[Round]]) -> list[str]:
    bases, heads = ([FIGURES[figure](made) for made in measured[name]] for name in ("base", "head"))
    ratios = [new / old for new, old in zip(heads, bases, strict=True)]
    least, most = spread(ratios)
    return [
        figure,
        f"{median(bases):.1f}",
        f"{median(heads):.1f}",
        f"{median(ratios):.3f}",
        f"{least:.3f}-{most:.3f}",
    ]


if __name__ == "__main__":
    main()

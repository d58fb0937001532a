"""Measures saturation by the number of connections: the service (quorum queue) and the bare ASGI no-op.

A one-shot connection carries a single request (`Connection: close`). Rounds are interleaved: each round goes through
all numbers of connections, first kept, then one-shot, and loads the no-op and the service in turn. Writes
results/sweep-DATABASE.json. INGEST_TEST_SERVERS chooses the servers.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import msgspec

from bench.harness import rounds, targets
from bench.harness.rounds import Round
from bench.harness.wrk import Load
from bench.report import cells
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table

CONNECTIONS = (1, 16, 64, 256, 1024)
NOOP, SERVICE = "no-op", "service"
WARM_UP = Load(connections=64, seconds=1)
HEAD = ("connections", "target", "events/s", "p50", "p99", "CPU µs an event:", "database", "broker", "generator")
METHOD = (
    "wrk with one thread in a closed loop; each request has its own body. A one-shot connection carries one request "
    "(Connection: close). All targets run from the start. Each round goes through all steps, and loads every target in "
    "turn for the given seconds, on an empty table and queue. CPU time is utime + stime of the process trees from the "
    "first request until all events are published. Figures are medians over rounds."
)


class Step(msgspec.Struct, frozen=True):
    connections: int
    one_shot: bool
    rounds: Mapping[str, list[Round]]

    @property
    def name(self) -> str:
        return f"{self.connections:,} {'one-shot' if self.one_shot else 'kept'}"


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    seconds: int
    workers: int
    steps: Sequence[Step]


@click.command(help=__doc__)
@click.option(
    "--rounds", "count", default=5, show_default=True, help="Rounds that count, after a warm-up of one second."
)
@click.option("--seconds", default=3, show_default=True, help="Length of one target's turn in a step.")
@click.option(
    "--connections",
    multiple=True,
    default=CONNECTIONS,
    show_default=True,
    help="Number of connections; may be repeated.",
)
@click.option("--kept/--no-kept", default=True, show_default=True, help="Measure kept connections.")
@click.option("--one-shot/--no-one-shot", default=True, show_default=True, help="Measure one-shot connections.")
@click.option("--workers", default=1, show_default=True, help="Worker processes of the service and of the no-op.")
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(
    count: int, seconds: int, connections: Sequence[int], kept: bool, one_shot: bool, workers: int, out: Path | None
) -> None:
    kinds = [kind for kind, is_wanted in ((False, kept), (True, one_shot)) if is_wanted]
    steps = [Step(number, kind, {NOOP: [], SERVICE: []}) for kind in kinds for number in connections]
    with targets.servers() as servers:
        taken = stamp(servers)
        measure(servers, steps, count, seconds, workers)
    record(Result(taken, METHOD, seconds, workers, steps), "sweep", taken, out)
    print(cells.headline(taken))
    print(table(HEAD, [row for step in steps for row in rows(step)]))
    if failures := sum(round_.failures for step in steps for own in step.rounds.values() for round_ in own):
        sys.exit(f"{failures} requests were not answered 200")


def measure(servers: targets.Servers, steps: Sequence[Step], count: int, seconds: int, workers: int) -> None:
    """Add `count` rounds to each step."""
    with targets.noop("asgi", workers) as noop, targets.service(servers, "quorum", workers) as service:
        loaded: dict[str, targets.Target] = {NOOP: noop, SERVICE: service}
        for target in loaded.values():
            rounds.measure(target, WARM_UP)
        for _ in range(count):
            for step in steps:
                load = Load(step.connections, seconds, one_shot=step.one_shot)
                for name, target in loaded.items():
                    step.rounds[name].append(rounds.measure(target, load))


def rows(step: Step) -> Iterator[list[str]]:
    """Yield a target's medians in the order of `HEAD`, with the least and the most events/s."""
    for name, own in step.rounds.items():
        yield [step.name, name, cells.rate(own), *cells.latency(own), *cells.cpu(own)]


if __name__ == "__main__":
    main()

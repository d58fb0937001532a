"""Measures the service and the no-ops at saturation (closed loop). Prints a table, writes a JSON file to results/.

Rounds are interleaved: each round loads every target once. INGEST_TEST_SERVERS chooses the servers.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec

from bench.harness import rounds, targets
from bench.harness.noops import Kind
from bench.harness.rounds import Round
from bench.harness.wrk import Load
from bench.report import cells
from bench.report.cells import headline
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table

NOOPS: Mapping[str, Kind] = {
    "no-op": "asgi",
    "no-op, RSGI": "rsgi",
    "no-op, BlackSheep": "blacksheep",
    "no-op, httptools": "httptools",
}
LISTENERS = ("direct", "granian")
NOOP = "no-op"
"""The reference: the other targets are divided by it."""
HEAD = ("target", "events/s", "CPU µs an event:", "database", "broker", "generator", "÷ no-op", "p50", "p99", "drain s")
METHOD = (
    "wrk in a closed loop; each request has its own body. All targets run from the start. Each round loads every "
    "target in turn for the given seconds, on an empty table and queue (a stream is not emptied). CPU time is utime + "
    "stime of the process trees from the first request until all events are published. Figures are medians over "
    "rounds."
)

Rounds = Mapping[str, Sequence[Round]]


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    load: Load
    workers: int
    rounds: Rounds


@click.command(help=__doc__)
@click.option("--rounds", "count", default=5, show_default=True, help="Rounds that count; one more warms up.")
@click.option("--seconds", default=5, show_default=True, help="Length of one target's turn.")
@click.option("--connections", default=256, show_default=True)
@click.option("--own-ids", is_flag=True, help="Each request has an X-Request-Id of its own, so that no head is known.")
@click.option("--workers", default=1, show_default=True, help="Worker processes of the service and of the no-op.")
@click.option(
    "--mode", "modes", multiple=True, type=click.Choice(targets.MODES), help="Only this mode; may be repeated."
)
@click.option(
    "--listener", "listeners", multiple=True, type=click.Choice(LISTENERS), help="Only this one; may be repeated."
)
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(
    count: int,
    seconds: int,
    connections: int,
    own_ids: bool,
    workers: int,
    modes: Sequence[targets.Mode],
    listeners: Sequence[str],
    out: Path | None,
) -> None:
    load = Load(connections, seconds, own_ids=own_ids)
    with targets.servers() as servers:
        taken = stamp(servers)
        measured = run(servers, load, count, workers, modes or targets.MODES, listeners or LISTENERS)
    result = Result(taken, METHOD, load, workers, measured)
    record(result, "saturation", taken, out)
    print(headline(taken))
    print(table(HEAD, [row(name, measured) for name in measured]))
    if failures := sum(round_.failures for each in measured.values() for round_ in each):
        sys.exit(f"{failures} requests were not answered 200")


def run(
    servers: targets.Servers,
    load: Load,
    count: int,
    workers: int,
    modes: Sequence[targets.Mode],
    listeners: Sequence[str],
) -> dict[str, list[Round]]:
    """Measure the no-ops, and the service in each mode with each listener, in interleaved rounds."""
    with ExitStack() as stack:
        loaded: dict[str, targets.Target] = {
            name: stack.enter_context(targets.noop(kind, workers)) for name, kind in NOOPS.items()
        }
        for mode in modes:
            for listener in listeners:
                service = targets.service(servers, mode, workers, environment={"INGEST_LISTENER": listener})
                loaded[mode if listener == "direct" else f"{mode}, Granian"] = stack.enter_context(service)
        warmed = msgspec.structs.replace(load, seconds=1)
        for target in loaded.values():
            rounds.measure(target, warmed)
        measured: dict[str, list[Round]] = {name: [] for name in loaded}
        for _ in range(count):
            for name, target in loaded.items():
                measured[name].append(rounds.measure(target, load))
        return measured


def row(name: str, measured: Rounds) -> list[str]:
    """Return the medians of a target's rounds, in the order of `HEAD`, with the least and the most events/s."""
    own = measured[name]
    ratio = f"{rounds.ratio(own, measured[NOOP]):.2f}"
    drain_seconds = f"{max(round_.drain_seconds for round_ in own):.2f}"
    return [name, cells.rate(own), *cells.cpu(own), ratio, *cells.latency(own), drain_seconds]


if __name__ == "__main__":
    main()

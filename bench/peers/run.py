"""Measures the service and its peers, each on its own database and queue. Prints a table, writes JSON to results/.

Rounds are interleaved: each round loads every target once. Every peer is checked first: its answers, the committed row
before each 200, and the persistent message with the same body. Faults check what it promises to lose never.
INGEST_TEST_SERVERS chooses the servers.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import click
import msgspec

from bench.harness import rounds, targets
from bench.harness.rounds import Round
from bench.harness.wrk import Load
from bench.peers import honesty, promises
from bench.peers.stand import Peer, QueueType, stand
from bench.peers.starting import KINDS
from bench.report import cells, records
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table

OURS = "call events service"
"""With its direct listener."""
OTHERS = (OURS, "call events service, Granian", "no-op", "no-op, httptools")
"""Targets that are no peers."""
SECONDS_MAX: Mapping[str, int] = {"laravel": 5}
"""Laravel's worker publishes one job at a time. The backlog of a longer load would take too long to drain."""
HEAD = (
    "target",
    "events/s",
    "CPU µs an event:",
    "database",
    "broker",
    "generator",
    "p50 ms",
    "p99",
    "drain s",
    "our CPU ÷ its",
    "our events/s ÷ its",
)
METHOD = (
    "wrk in a closed loop; each request has its own body. All targets run from the start. Each round loads every "
    "target in turn for the given seconds (Laravel for at most 5), on an empty table and queue. CPU time is utime + "
    "stime of the process trees, with web server and queue worker. It counts from the first request until the queue "
    "has as many messages as the table has rows, and is divided by these rows. The rows include requests that were in "
    "progress when the load ended. A peer's drain includes 0.5 s without a change. Ratios are taken round by round."
)

Rounds = Mapping[str, Sequence[Round]]


class Result(msgspec.Struct, frozen=True):
    """`service_cpu_ratios`: the service's CPU time an event ÷ each peer's, round by round."""

    stamp: Stamp
    method: str
    load: Load
    queue_type: QueueType
    service_cpu_ratios: Mapping[str, Sequence[float]]
    rounds: Rounds


@click.command(help=__doc__)
@click.option("--rounds", "count", default=5, show_default=True, help="Rounds that count; one more warms up.")
@click.option("--seconds", default=5, show_default=True, help="Length of one target's turn (Laravel: at most 5).")
@click.option("--connections", default=256, show_default=True)
@click.option("--peer", "names", multiple=True, type=click.Choice(list(KINDS)), help="Only this peer; may be repeated.")
@click.option("--mode", default="quorum", show_default=True, type=click.Choice(["quorum", "classic"]), help="Queue.")
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(count: int, seconds: int, connections: int, names: Sequence[str], mode: QueueType, out: Path | None) -> None:
    load = Load(connections, seconds)
    try:
        with targets.servers() as servers:
            taken = stamp(servers)
            measured, versions = run(servers, load, count, names or list(KINDS), mode)
    except targets.BenchFailed as exc:
        sys.exit(f"no figures: {exc}")
    taken = msgspec.structs.replace(taken, versions={**taken.versions, **versions})
    ours = measured[OURS]
    compared = {name: ratios(ours, own) for name, own in measured.items() if name not in OTHERS}
    file = records.record(Result(taken, METHOD, load, mode, compared, measured), "peers", taken, out)
    print(cells.headline(taken))
    print(table(HEAD, [row(name, measured[name], ours) for name in measured]))
    print(file)
    if failures := sum(round_.failures for each in measured.values() for round_ in each):
        sys.exit(f"{failures} requests were not answered 200")


def run(
    servers: targets.Servers, load: Load, count: int, names: Sequence[str], mode: QueueType
) -> tuple[dict[str, list[Round]], dict[str, str]]:
    """Measure no-ops, service and peers in interleaved rounds. Return the rounds, and the peers' versions."""
    with ExitStack() as stack:
        peers = {name: _start(stack, servers, name, mode) for name in names}
        loaded: dict[str, targets.Target] = {
            **dict(zip(OTHERS, _others(stack, servers, mode), strict=True)),
            **peers,
        }
        for name, target in loaded.items():
            measure(name, target, msgspec.structs.replace(load, seconds=1))
        measured: dict[str, list[Round]] = {name: [] for name in loaded}
        for _ in range(count):
            for name, target in loaded.items():
                measured[name].append(measure(name, target, load))
        return measured, {name: version for peer in peers.values() for name, version in peer.versions.items()}


def _others(stack: ExitStack, servers: targets.Servers, mode: QueueType) -> Iterator[targets.Target]:
    for listener in ("direct", "granian"):
        yield stack.enter_context(targets.service(servers, mode, environment={"INGEST_LISTENER": listener}))
    yield stack.enter_context(targets.noop("asgi"))
    yield stack.enter_context(targets.noop("httptools"))


def _start(stack: ExitStack, servers: targets.Servers, name: str, mode: QueueType) -> Peer:
    """Check and start a peer. Raises `BenchFailed`, with the peer's name."""
    try:
        promises.check(KINDS[name], servers, mode)
        peer = stack.enter_context(KINDS[name].start(stack.enter_context(stand(servers, mode))))
        honesty.check(peer)
    except targets.BenchFailed as exc:
        raise targets.BenchFailed(f"{name}: {exc}") from exc
    return peer


def measure(name: str, target: targets.Target, load: Load) -> Round:
    seconds = min(load.seconds, SECONDS_MAX.get(name, load.seconds))
    round_ = rounds.measure(target, msgspec.structs.replace(load, seconds=seconds))
    rows = target.rows()
    return round_ if rows is None else per_row(round_, rows)


def per_row(round_: Round, rows: int) -> Round:
    """Divide the CPU time by all rows: the peer also stores events whose answer the generator did not wait for."""
    return msgspec.structs.replace(
        round_, cpu_us={name: cpu * round_.events / rows for name, cpu in round_.cpu_us.items()}
    )


def ratios(ours: Sequence[Round], own: Sequence[Round]) -> list[float]:
    """Return the service's CPU time an event ÷ the peer's, round by round."""
    return [our.cpu_us["service"] / round_.cpu_us["service"] for our, round_ in zip(ours, own, strict=True)]


def row(name: str, own: Sequence[Round], ours: Sequence[Round]) -> list[str]:
    """Format the cells of `HEAD`. The service's own rounds have no ratio."""
    rates = [our.per_second / round_.per_second for our, round_ in zip(ours, own, strict=True)]
    return [
        name,
        cells.rate(own),
        *cells.cpu(own),
        *cells.latency(own),
        f"{max(round_.drain_seconds for round_ in own):.2f}",
        *(["-", "-"] if own is ours else [_spread(ratios(ours, own)), _spread(rates)]),
    ]


def _spread(figures: Sequence[float]) -> str:
    """Format the median, the least and the most."""
    return f"{median(figures):.3g} ({min(figures):.3g}-{max(figures):.3g})"


if __name__ == "__main__":
    main()

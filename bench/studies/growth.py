"""Measures throughput as `call_event_logs` grows, and as workers are added.

Rows: each step compares a table with this many rows and an empty one. Both tables are on the same server, each with
its own service. The services are loaded in turn, so that changes of the machine's speed cancel. The figure is the
median of the ratios. The database server makes the rows (see `bench.harness.filling`). The buffer pool of a private
server is the 256 MiB of the tests, or `--buffer-pool-mib`. The index on `call_id` outgrows 256 MiB at about 3.5 million
rows. From then on an event of a new call waits for a page from the disk.

Workers: services with these numbers of workers are loaded in turn, each on an empty table.

Writes results/growth-DATABASE.json. INGEST_TEST_SERVERS chooses the servers.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import click
import msgspec

from bench.harness import rounds, targets
from bench.harness.grown import Grown
from bench.harness.rounds import Round
from bench.harness.wrk import Load
from bench.report import cells
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table

ROWS = (0, 100_000, 1_000_000, 3_000_000, 10_000_000)
WORKERS = (1, 2)
GROWN, EMPTY = "grown", "empty"
REACH = 0.9
BUFFER_POOL = "SELECT @@innodb_buffer_pool_size DIV 1048576"
RESIZE = "SET GLOBAL innodb_buffer_pool_size = 1048576 * "
HEAD = ("rows", "events/s", "p50", "p99", "empty: events/s", "p50", "p99", "÷ empty", "p99 ÷ empty", "fill s")
WORKERS_HEAD = ("workers", "events/s", "p50", "p99", "CPU µs an event:", "database", "broker", "generator", "÷ first")
METHOD = (
    "wrk with one thread in a closed loop, random call ids. The grown and the empty table are on one server, and are "
    "loaded in turn after a round that does not count. Added rows stay in the grown table, and are truncated in the "
    "empty one. The order alternates, as both tables share the buffer pool, and a turn pays for pages that the turn "
    "before left to be written. Ratios are medians over neighboring rounds. Each number of workers has its own empty "
    "table, and is measured in the same way."
)


class RowsStep(msgspec.Struct, frozen=True):
    """`rows` at the start; `rows_at_end` includes the rows that the rounds added."""

    rows: int
    rows_at_end: int
    fill_seconds: float
    rounds: Mapping[str, Sequence[Round]]


class WorkersStep(msgspec.Struct, frozen=True):
    workers: int
    rounds: Sequence[Round]


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    load: Load
    buffer_pool_mib: int
    rows: Sequence[RowsStep]
    workers: Sequence[WorkersStep]


@click.command(help=__doc__)
@click.option("--rows", multiple=True, default=ROWS, show_default=True, help="Rows of the table; may be repeated.")
@click.option(
    "--workers", multiple=True, default=WORKERS, show_default=True, help="Number of workers; may be repeated."
)
@click.option("--rounds", "count", default=5, show_default=True, help="Rounds that count in each step.")
@click.option("--seconds", default=5, show_default=True, help="Length of one target's turn.")
@click.option("--connections", default=256, show_default=True)
@click.option("--mode", default="quorum", show_default=True, type=click.Choice(targets.MODES))
@click.option("--buffer-pool-mib", type=int, help="Size of the buffer pool; private servers only.")
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(
    rows: Sequence[int],
    workers: Sequence[int],
    count: int,
    seconds: int,
    connections: int,
    mode: targets.Mode,
    buffer_pool_mib: int | None,
    out: Path | None,
) -> None:
    load = Load(connections, seconds, random_calls=True)
    with targets.servers() as servers:
        taken = stamp(servers)
        pool_mib = buffer_pool(servers, buffer_pool_mib)
        grown = measure_rows(servers, load, count, mode, sorted(rows))
        added = measure_workers(servers, load, count, mode, workers)
    result = Result(taken, METHOD, load, pool_mib, grown, added)
    record(result, "growth", taken, out)
    print(f"{cells.headline(taken)}; buffer pool {pool_mib} MiB")
    print(report(result))
    if failures := sum(round_.failures for each in all_rounds(result) for round_ in each):
        sys.exit(f"{failures} requests were not answered 200")


def buffer_pool(servers: targets.Servers, wanted_mib: int | None) -> int:
    """Set the size if `wanted_mib` is given, and return it in MiB. Raises `BenchFailed` for an external server."""
    if wanted_mib:
        if not servers.mysql.controllable:
            raise targets.BenchFailed("this database server was given by its URL: its buffer pool stays as it is")
        servers.mysql.query(f"{RESIZE}{wanted_mib}")
    return int(servers.mysql.query(BUFFER_POOL)[0][0])


def measure_rows(
    servers: targets.Servers, load: Load, count: int, mode: targets.Mode, rows: Sequence[int]
) -> list[RowsStep]:
    with targets.service(servers, mode) as filled, targets.service(servers, mode) as empty:
        grown = Grown(filled, servers)
        return [measure_step({GROWN: grown, EMPTY: empty}, grown, load, count, number) for number in rows]


def measure_step(loaded: Mapping[str, targets.Target], grown: Grown, load: Load, count: int, rows: int) -> RowsStep:
    fill_seconds = grown.fill(rows)
    measured = interleaved(loaded, load, count)
    return RowsStep(rows, grown.held, fill_seconds, measured)


def measure_workers(
    servers: targets.Servers, load: Load, count: int, mode: targets.Mode, workers: Sequence[int]
) -> list[WorkersStep]:
    with ExitStack() as stack:
        loaded = {str(number): stack.enter_context(targets.service(servers, mode, number)) for number in workers}
        return [WorkersStep(int(number), own) for number, own in interleaved(loaded, load, count).items()]


def interleaved(loaded: Mapping[str, targets.Target], load: Load, count: int) -> dict[str, list[Round]]:
    """Measure `count` rounds, each with all targets in turn, after one that does not count.

    The order alternates, as a turn pays for pages that the turn before left to be written.
    """
    measured: dict[str, list[Round]] = {name: [] for name in loaded}
    for number in range(count + 1):
        for name in list(loaded)[:: -1 if number % 2 else 1]:
            measured[name].append(rounds.measure(loaded[name], load))
    return {name: own[1:] for name, own in measured.items()}


def faster(own: Sequence[Round], others: Sequence[Round]) -> float:
    """Return the median over neighboring rounds of events/s ÷ the others' events/s."""
    return median(one.per_second / other.per_second for one, other in zip(own, others, strict=True))


def slower(own: Sequence[Round], others: Sequence[Round]) -> float:
    """Return the same ratio of p99."""
    return median(one.p99_ms / other.p99_ms for one, other in zip(own, others, strict=True))


def report(result: Result) -> str:
    lines = [table(HEAD, [rows_row(step) for step in result.rows])] if result.rows else []
    if result.rows:
        last = result.rows[-1]
        figure = faster(last.rounds[GROWN], last.rounds[EMPTY])
        lines.append(f"throughput at {last.rows:,} rows ÷ empty: {figure:.2f} (reach: >= {REACH})")
    first = [step.rounds for step in result.workers[:1]]
    lines += [table(WORKERS_HEAD, [workers_row(step, first[0]) for step in result.workers])] if first else []
    return "\n".join(lines)


def rows_row(step: RowsStep) -> list[str]:
    """Format the cells of `HEAD`."""
    grown, empty = step.rounds[GROWN], step.rounds[EMPTY]
    return [
        f"{step.rows:,}",
        cells.rate(grown),
        *cells.latency(grown),
        cells.rate(empty),
        *cells.latency(empty),
        f"{faster(grown, empty):.2f}",
        f"{slower(grown, empty):.2f}",
        f"{step.fill_seconds:.0f}",
    ]


def workers_row(step: WorkersStep, first: Sequence[Round]) -> list[str]:
    """Format the cells of `WORKERS_HEAD`."""
    own = step.rounds
    return [str(step.workers), cells.rate(own), *cells.latency(own), *cells.cpu(own), f"{faster(own, first):.2f}"]


def all_rounds(result: Result) -> list[Sequence[Round]]:
    return [own for step in result.rows for own in step.rounds.values()] + [step.rounds for step in result.workers]


if __name__ == "__main__":
    main()

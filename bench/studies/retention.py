"""What it costs to drop a day of ten million events, and how quickly one is published again.

The table is partitioned (`ingest retention --convert`) and gets several past days, each with so many rows; the service
has a steady load. Windows alternate: one in which nothing happens, one in which the oldest day is dropped, by the
service or by the command `ingest retention`. The figure is the median of the ratios of a dropping window's p99 to the
mean of its neighbours'; beside it, what it means: how far quiet windows that follow one another are apart. Before, the
newest of those days is published again, to a stream of its own (`ingest replay`). Leaves
results/retention-DATABASE.json. INGEST_TEST_SERVERS chooses the servers, TMPDIR the file system of their data: how it
removes a large file is what the figure depends on most.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import mean, median

import click
import msgspec

from bench.harness import targets
from bench.harness.filling import FIRST_TIME, fill
from bench.latency.figures import Figures, figures
from bench.openloop.generator import Generator, generator
from bench.openloop.plan import Plan
from bench.report.cells import headline
from bench.report.records import record
from bench.report.stamp import Stamp, filesystem, stamp
from bench.report.tables import table
from ingest.retention.partitions import ONE_DAY, end_of, name_of
from tests.services import MySQLServer

METHOD = (
    "Open loop with Poisson arrivals, timed from when each request was due. A dropping window begins a second before "
    "the day may go; the command's start as a process is part of the load; ratios are to the mean of the "
    "windows before and after."
)
LAST_HEAD = ("p99 ÷ quiet", "quiet ÷ quiet", "command s")
HEAD = ("drop", "before: p50 ms", "p99 ms", "dropping: p50 ms", "p99 ms", "after: p50 ms", "p99 ms", *LAST_HEAD)
BEFORE_SECONDS = 1.0
"""Of the window, before the day may go: the load is under way by then."""
CHECK_SECONDS = 2.0
"""How often each of the service's workers looks whether a day may go."""
BY_ITSELF = {"INGEST_RETENTION_DAYS": "1", "INGEST_RETENTION_CHECK_SECONDS": str(CHECK_SECONDS)}
HOLD = "INSERT INTO ingest_dead_letters VALUES ({}, 'refused', '2025-01-01', '')"
RELEASE = "UPDATE ingest_dead_letters SET event_id = {}"
"""The day with a dead letter, and those after it, are not dropped."""
PARTITIONS = "SELECT PARTITION_NAME FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = DATABASE()"
REPLAY_SECONDS_MAX = 3600
FIRST_DAY = date.fromisoformat(FIRST_TIME[:10])
DAY_MS = 86_400_000


class Drop(msgspec.Struct, frozen=True):
    before: Figures
    dropping: Figures
    after: Figures
    command_seconds: float | None
    """None if the service did it."""

    @property
    def ratio(self) -> float:
        return self.dropping.p99_ms / mean([self.before.p99_ms, self.after.p99_ms])

    @property
    def noise(self) -> float:
        """How far its neighbours are apart: the greater p99 to the smaller one."""
        quiet = self.before.p99_ms, self.after.p99_ms
        return max(quiet) / min(quiet)


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    filesystem: str
    """Of the servers' data."""
    rows_a_day: int
    by: str
    per_second: float
    fill_seconds: float
    drops: Sequence[Drop]
    replayed: int
    replay_seconds: float


@click.command(help=__doc__)
@click.option("--rows", default=10_000_000, show_default=True, help="A day.")
@click.option("--drops", "count", default=3, show_default=True)
@click.option("--seconds", default=15, show_default=True, help="Length of a window.")
@click.option("--rate", default=500.0, show_default=True, help="Events a second meanwhile.")
@click.option("--by", type=click.Choice(["service", "command"]), default="service", show_default=True)
@click.option("--replay/--no-replay", "replays", default=True, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(rows: int, count: int, seconds: int, rate: float, by: str, replays: bool, out: Path | None) -> None:
    today = datetime.now(UTC).date()
    past = [today - timedelta(days=back) for back in range(count, 0, -1)]
    with targets.servers() as servers, generator() as loop:
        taken = stamp(servers)
        environment = BY_ITSELF if by == "service" else None
        with targets.service(servers, "quorum", workers=2, environment=environment) as service:
            servers.mysql.query(HOLD.format(end_of(past[0] - ONE_DAY)), service.database)
            print(f"filling {len(past)} days of {rows:,} rows", file=sys.stderr)
            fill_seconds = partitioned(servers, service, past, rows)
            replayed, replay_seconds = replay(service, past[-1]) if replays else (0, 0.0)
            drops = list(
                dropped(service, servers.mysql, loop, Plan(service.port, service.token, rate, seconds), past, by)
            )
    files = filesystem(Path(tempfile.gettempdir()))
    result = Result(taken, METHOD, files, rows, by, rate, fill_seconds, drops, replayed, replay_seconds)
    record(result, "retention", taken, out)
    print(report(result))


def partitioned(servers: targets.Servers, service: targets.Service, past: Sequence[date], rows: int) -> float:
    """Partitions, and rows in those of `past`; seconds it took to make the rows."""
    firsts = [(day - FIRST_DAY).days * DAY_MS for day in past]
    fill(servers.mysql, service.database, 1, firsts[:1])  # the oldest day that `--convert` sees
    service.command("retention", "--convert")
    servers.mysql.query("TRUNCATE TABLE call_event_logs", service.database)
    return fill(servers.mysql, service.database, rows, firsts)


def dropped(
    service: targets.Service, mysql: MySQLServer, loop: Generator, plan: Plan, past: Sequence[date], by: str
) -> Iterator[Drop]:
    """One of the `past` days after the other, oldest first; a first window does not count."""
    figures(loop.start(plan).result().latency)
    before = figures(loop.start(plan).result().latency)
    for day in past:
        with retention(service, mysql, day, by) as seconds:
            dropping = figures(loop.start(plan).result().latency)
        service.drain()
        after = figures(loop.start(plan).result().latency)
        yield Drop(before, dropping, after, seconds[0] if seconds else None)
        before = after


@contextmanager
def retention(service: targets.Service, mysql: MySQLServer, day: date, by: str) -> Iterator[list[float]]:
    """The day may go a second after the block has begun; how long a command took for it is there after it."""
    took: list[float] = []
    if not is_there(mysql, service, day):
        raise targets.BenchFailed(f"{day} was dropped too early")

    def run() -> None:
        time.sleep(BEFORE_SECONDS)
        mysql.query(RELEASE.format(end_of(day)), service.database)
        if by == "command":
            began = time.monotonic()
            service.command("retention", "--days", "1")
            took.append(time.monotonic() - began)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield took
    finally:
        thread.join()
    if is_there(mysql, service, day):
        raise targets.BenchFailed(f"{day} was not dropped")


def is_there(mysql: MySQLServer, service: targets.Service, day: date) -> bool:
    return (name_of(day),) in [tuple(row) for row in mysql.query(PARTITIONS, service.database)]


def replay(service: targets.Service, day: date) -> tuple[int, float]:
    """Events of the day that were published again, and the seconds it took."""
    words = ("replay", "--since", str(day), "--until", str(day + timedelta(days=1)))
    began = time.monotonic()
    told = service.command(
        *words, "--publish-to", "stream", "--queue", service.another_queue(), seconds=REPLAY_SECONDS_MAX
    )
    return int(told.stdout.split()[0]), time.monotonic() - began


def report(result: Result) -> str:
    rows = [
        [str(number), *_cells(drop), f"{drop.ratio:.2f}", f"{drop.noise:.2f}", _seconds(drop)]
        for number, drop in enumerate(result.drops, 1)
    ]
    lines = [headline(result.stamp), f"data on {result.filesystem}", table(HEAD, rows)]
    lines.append(
        f"p99 while the {result.by} drops a day of {result.rows_a_day:,} rows ÷ quiet, median: "
        f"{median(drop.ratio for drop in result.drops):.2f} (reach: < 1.10; quiet windows are apart by "
        f"{median(drop.noise for drop in result.drops):.2f})"
    )
    if result.replayed:
        took, rate = result.replay_seconds, result.replayed / result.replay_seconds
        lines.append(f"{result.replayed:,} events published again in {took:.0f} s, {rate:,.0f} a second")
    return "\n".join(lines)


def _seconds(drop: Drop) -> str:
    return "" if drop.command_seconds is None else f"{drop.command_seconds:.1f}"


def _cells(drop: Drop) -> list[str]:
    return [f"{value:.1f}" for own in (drop.before, drop.dropping, drop.after) for value in (own.p50_ms, own.p99_ms)]


if __name__ == "__main__":
    main()

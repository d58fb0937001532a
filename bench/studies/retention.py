"""Measures the cost of dropping a day of ten million events, and the speed of replaying one.

The table is partitioned (`ingest retention --convert`), and holds several past days of `--rows` events each. The
service has a steady load. Quiet windows alternate with windows in which the service, or the command `ingest retention`,
drops the oldest day. The figure is the median of the ratios of a dropping window's p99 to the mean of its neighbors'.
The report also shows how much quiet windows differ from each other. Before that, `ingest replay` publishes the newest
of these days to a separate stream. Writes results/retention-DATABASE.json. INGEST_TEST_SERVERS chooses the servers.
TMPDIR chooses the file system of their data. The figure depends most on how that file system removes a large file.
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
    "Open loop with Poisson arrivals; latency counts from the due time. A dropping window begins a second before the "
    "day may be dropped. The start of the command's process is part of the load. Ratios are to the mean of the windows "
    "before and after."
)
LAST_HEAD = ("p99 ÷ quiet", "quiet ÷ quiet", "command s")
HEAD = ("drop", "before: p50 ms", "p99 ms", "dropping: p50 ms", "p99 ms", "after: p50 ms", "p99 ms", *LAST_HEAD)
BEFORE_SECONDS = 1.0
"""Seconds of the window before the day may be dropped, so that the load has started."""
CHECK_SECONDS = 2.0
"""Each worker of the service checks at this interval whether a day may be dropped."""
BY_ITSELF = {"INGEST_RETENTION_DAYS": "1", "INGEST_RETENTION_CHECK_SECONDS": str(CHECK_SECONDS)}
HOLD = "INSERT INTO ingest_dead_letters VALUES ({}, 'refused', '2025-01-01', '')"
RELEASE = "UPDATE ingest_dead_letters SET event_id = {}"
"""The service drops neither a day with a dead letter, nor the days after it."""
PARTITIONS = "SELECT PARTITION_NAME FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = DATABASE()"
REPLAY_SECONDS_MAX = 3600
FIRST_DAY = date.fromisoformat(FIRST_TIME[:10])
DAY_MS = 86_400_000


class Drop(msgspec.Struct, frozen=True):
    before: Figures
    dropping: Figures
    after: Figures
    command_seconds: float | None
    """None if the service dropped the day."""

    @property
    def ratio(self) -> float:
        return self.dropping.p99_ms / mean([self.before.p99_ms, self.after.p99_ms])

    @property
    def noise(self) -> float:
        """The greater p99 of its quiet neighbors ÷ the smaller one."""
        quiet = self.before.p99_ms, self.after.p99_ms
        return max(quiet) / min(quiet)


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    filesystem: str
    """The file system of the servers' data."""
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
@click.option("--rate", default=500.0, show_default=True, help="Events a second during the windows.")
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
    """Make partitions, and rows for the days of `past`. Return the seconds that the rows took."""
    firsts = [(day - FIRST_DAY).days * DAY_MS for day in past]
    fill(servers.mysql, service.database, 1, firsts[:1])  # the oldest day that `--convert` sees
    service.command("retention", "--convert")
    servers.mysql.query("TRUNCATE TABLE call_event_logs", service.database)
    return fill(servers.mysql, service.database, rows, firsts)


def dropped(
    service: targets.Service, mysql: MySQLServer, loop: Generator, plan: Plan, past: Sequence[date], by: str
) -> Iterator[Drop]:
    """Drop the `past` days one after another, oldest first. The first window does not count."""
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
    """Let the day be dropped a second after the block's start. The list has the command's seconds after the block."""
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
    """Replay the day. Return the number of events, and the seconds it took."""
    words = ("replay", "--since", str(day), "--until", str(day + timedelta(days=1)))
    began = time.monotonic()
    completed = service.command(
        *words, "--publish-to", "stream", "--queue", service.another_queue(), seconds=REPLAY_SECONDS_MAX
    )
    return int(completed.stdout.split()[0]), time.monotonic() - began


def report(result: Result) -> str:
    rows = [
        [str(number), *_cells(drop), f"{drop.ratio:.2f}", f"{drop.noise:.2f}", _seconds(drop)]
        for number, drop in enumerate(result.drops, 1)
    ]
    lines = [headline(result.stamp), f"data on {result.filesystem}", table(HEAD, rows)]
    lines.append(
        f"p99 while the {result.by} drops a day of {result.rows_a_day:,} rows ÷ quiet, median: "
        f"{median(drop.ratio for drop in result.drops):.2f} (reach: < 1.10; quiet windows differ by "
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

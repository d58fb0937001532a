"""Measures searches of events by call in a table of ten million rows, and what they cost the events that are posted.

The service has one worker, and a steady load of half its saturation. Quiet windows alternate with windows in which a
reader asks `GET /api/events?call=…` at a fixed rate, each time for another random call of the table. The pages are on
the port for events, so the same worker answers both. Each search is timed from when it is due. The first figure is the
p99 of all searches. The second is the ratio of a reading window's p99 of posts to the mean of its neighbors' (median).
The report also shows how much quiet windows differ from each other. Writes results/reading-DATABASE.json.
INGEST_TEST_SERVERS chooses the servers.
"""

import json
import random
import sys
import threading
import time
from collections.abc import Sequence
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from statistics import mean, median
from urllib.parse import quote

import click
import msgspec

from bench.harness import rounds, targets
from bench.harness.events import STEPS, step
from bench.harness.grown import Grown
from bench.harness.wrk import Load
from bench.latency.figures import Figures, figures
from bench.openloop.generator import Generator, generator
from bench.openloop.plan import Plan
from bench.report.cells import headline
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table

METHOD = (
    "Open loop with Poisson arrivals; latency counts from the due time. Searches come at even times over one kept "
    "connection, for calls at random places of the table, and each must find the call's three events. Ratios are to "
    "the mean of the windows before and after."
)
HEAD = ("window", "searches: p50 ms", "p99 ms", "max ms", "posts: p99 ms", "quiet: p99 ms", "÷ quiet", "quiet ÷ quiet")
SATURATION_SECONDS, SATURATION_TURNS, CONNECTIONS = 5, 3, 256
SEARCH_REACH_MS, POST_REACH = 50.0, 1.10
MARK_CHARACTERS = 12


class Window(msgspec.Struct, frozen=True):
    """Posts in a reading window and in its quiet neighbors, and the searches."""

    searches: Figures
    before: Figures
    reading: Figures
    after: Figures

    @property
    def ratio(self) -> float:
        return self.reading.p99_ms / mean([self.before.p99_ms, self.after.p99_ms])

    @property
    def noise(self) -> float:
        """The greater p99 of its quiet neighbors ÷ the smaller one."""
        quiet = self.before.p99_ms, self.after.p99_ms
        return max(quiet) / min(quiet)


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    rows: int
    fill_seconds: float
    saturation_per_second: float
    per_second: float
    searches_per_second: float
    all_searches: Figures
    windows: Sequence[Window]


@click.command(help=__doc__)
@click.option("--rows", default=10_000_000, show_default=True, help="Rows of the table.")
@click.option("--windows", "count", default=6, show_default=True, help="Reading windows.")
@click.option("--seconds", default=15, show_default=True, help="Length of a window.")
@click.option("--searches", default=20.0, show_default=True, help="Searches a second in a reading window.")
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(rows: int, count: int, seconds: int, searches: float, out: Path | None) -> None:
    with targets.servers() as servers, generator() as loop, targets.service(servers, "quorum") as service:
        taken = stamp(servers)
        token = service.command("tokens", "create", "reader", "--scope", "read").stdout.strip()
        grown = Grown(service, servers)
        fill_seconds = grown.fill(rows)
        saturation = saturated(grown)
        plan = Plan(service.port, service.token, saturation / 2, seconds)
        measured, latencies = measure(service, loop, plan, count, Reader(service.port, token, searches, rows))
    found = figures(latencies)
    result = Result(taken, METHOD, rows, fill_seconds, saturation, plan.per_second, searches, found, measured)
    record(result, "reading", taken, out)
    print(report(result))
    if failures := found.failures + sum(window.reading.failures + window.after.failures for window in measured):
        sys.exit(f"{failures} requests were not answered as expected")


class Reader:
    """Searches for random calls of the table at a fixed rate, over one connection."""

    def __init__(self, port: int, token: str, per_second: float, rows: int) -> None:
        self._port = port
        self._headers = {"X-API-TOKEN": token}
        self._per_second = per_second
        self._calls = rows // len(STEPS)
        self._dice = random.Random(1)

    def run(self, seconds: float) -> list[float]:
        """Return the latencies in seconds, NaN for a search that did not find its events."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        started, found = time.monotonic(), list[float]()
        for number in range(int(seconds * self._per_second)):
            due = started + number / self._per_second
            time.sleep(max(0.0, due - time.monotonic()))
            good = self._search(connection)
            found.append(time.monotonic() - due if good else float("nan"))
        connection.close()
        return found

    def _search(self, connection: HTTPConnection) -> bool:
        call = call_id(self._dice.randrange(self._calls))
        connection.request("GET", f"/api/events?call={quote(call)}", headers=self._headers)
        response = connection.getresponse()
        body = response.read()
        return response.status == 200 and len(json.loads(body)["events"]) == len(STEPS)


def call_id(number: int) -> str:
    """Return the id of a call that `bench.harness.filling` made."""
    return str(step(sha256(str(number).encode()).hexdigest()[:MARK_CHARACTERS], STEPS[0])["call_id"])


def saturated(grown: Grown) -> float:
    """Return the events/s of a closed loop. The first turn warms up and does not count."""
    load = Load(CONNECTIONS, SATURATION_SECONDS, random_calls=True)
    turns = [rounds.measure(grown, load) for _ in range(SATURATION_TURNS + 1)]
    return median(turn.per_second for turn in turns[1:])


def measure(
    service: targets.Service, loop: Generator, plan: Plan, count: int, reader: Reader
) -> tuple[list[Window], list[float]]:
    """Return the windows and the latencies of all searches. The first quiet window does not count."""

    def window() -> Figures:
        found = figures(loop.start(plan).result().latency)
        service.drain()
        return found

    window()
    measured, latencies, before = list[Window](), list[float](), window()
    for _ in range(count):
        searches: list[float] = []
        thread = threading.Thread(target=lambda into=searches: into.extend(reader.run(plan.seconds)))
        thread.start()
        reading = window()
        thread.join()
        after = window()
        measured.append(Window(figures(searches), before, reading, after))
        latencies += searches
        before = after
    return measured, latencies


def report(result: Result) -> str:
    rows = [[str(number), *_cells(window)] for number, window in enumerate(result.windows, 1)]
    ratio, noise = (median(getattr(window, name) for window in result.windows) for name in ("ratio", "noise"))
    return "\n".join(
        [
            headline(result.stamp),
            f"{result.rows:,} rows, {result.per_second:,.0f} events/s (half of {result.saturation_per_second:,.0f}), "
            f"{result.searches_per_second:g} searches/s",
            table(HEAD, rows),
            f"p99 of {result.all_searches.answered:,} searches: {result.all_searches.p99_ms:.1f} ms "
            f"(reach: <= {SEARCH_REACH_MS:g} ms)",
            f"p99 of posts while reading ÷ quiet, median: {ratio:.2f} (reach: < {POST_REACH:.2f}; quiet windows differ "
            f"by {noise:.2f})",
        ]
    )


def _cells(window: Window) -> list[str]:
    quiet = mean([window.before.p99_ms, window.after.p99_ms])
    searches = window.searches
    figures_ms = (searches.p50_ms, searches.p99_ms, searches.max_ms, window.reading.p99_ms, quiet)
    return [*(f"{value:.1f}" for value in figures_ms), f"{window.ratio:.2f}", f"{window.noise:.2f}"]


if __name__ == "__main__":
    main()

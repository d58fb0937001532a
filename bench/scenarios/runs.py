"""Runs one locust scenario, and returns its figures."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.harness.targets import BenchFailed, Target
from bench.report.records import FOLDER as RESULTS
from bench.scenarios.figures import BROKEN, KEPT, Entries, events_answered, figures, named

FOLDER = Path(__file__).parent
MARGIN_SECONDS = 60


class Load(msgspec.Struct, frozen=True):
    users: int
    seconds: int


SCENARIOS: Mapping[str, Load] = {
    "steady": Load(users=40, seconds=7),
    "burst": Load(users=60, seconds=9),
    "invalid": Load(users=40, seconds=5),
    "tokens": Load(users=40, seconds=5),
    "reconnecting": Load(users=40, seconds=5),
    "many_servers": Load(users=300, seconds=6),
}
"""A file's name in this folder → its load in `make budgets`, which is as short as possible."""


def measure(target: Target, name: str, load: Load) -> dict[str, float]:
    """Return `scenario.NAME.FIGURE` → value. Raises `BenchFailed` if events that were answered 200 are missing."""
    target.clear()
    entries = run(f"http://127.0.0.1:{target.port}", target.token, name, load)
    target.drain()
    rows, answered = target.rows(), events_answered(entries)
    if rows is not None and rows < answered:
        raise BenchFailed(f"{answered} events were answered 200, {rows} are in the database")
    return named(name, figures(entries))


def run(host: str, token: str, name: str, load: Load) -> Entries:
    """Run locust and return its statistics. Its report stays in results/. Raises `BenchFailed` if locust fails."""
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stats = Path(folder, "stats")
        done = subprocess.run(
            [*_command(host, name, load), "--html", str(html(name)), "--json-file", str(stats)],
            env={**os.environ, "BENCH_TOKEN": token},
            check=False,
            capture_output=True,
            text=True,
            timeout=load.seconds + MARGIN_SECONDS,
        )
        report = stats.with_suffix(".json")
        if done.returncode not in (KEPT, BROKEN) or not report.exists():
            raise BenchFailed(f"locust ended with {done.returncode}:\n{done.stderr}")
        entries: Entries = json.loads(report.read_text())
        return entries


def html(name: str) -> Path:
    return RESULTS / f"scenario-{name}.html"


def _command(host: str, name: str, load: Load) -> list[str]:
    file = str(FOLDER / f"{name}.py")
    shape = ["-u", str(load.users), "-r", str(load.users), "-t", f"{load.seconds}s"]
    quiet = ["--headless", "--only-summary", "--loglevel", "WARNING"]
    return [sys.executable, "-m", "locust", "-f", file, "--host", host, *shape, *quiet]

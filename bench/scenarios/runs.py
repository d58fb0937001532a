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


def measure(target: Target, name: str, load: Load, report: Path | None = None) -> dict[str, float]:
    """Return `scenario.NAME.FIGURE` → value.

    Raises `BenchFailed` if events that were answered 200 are missing, or if locust did too little to judge.
    """
    target.clear()
    entries = run(f"http://127.0.0.1:{target.port}", target.token, name, load, report)
    target.drain()
    rows, answered = target.rows(), events_answered(entries)
    if rows is not None and rows < answered:
        raise BenchFailed(f"{answered} events were answered 200, {rows} are in the database")
    return judgeable(name, entries, load)


def judgeable(name: str, entries: Entries, load: Load) -> dict[str, float]:
    """Return `scenario.NAME.FIGURE` → value. Raises `BenchFailed` if there are neither failures nor times."""
    found = figures(entries)
    if not found.get("failures") and "wait_ratio" not in found:
        requests = sum(entry["num_requests"] for entry in entries)
        raise BenchFailed(f"locust finished only {requests} requests in its {load.seconds} s; the machine was too busy")
    return named(name, found)


def run(host: str, token: str, name: str, load: Load, report: Path | None = None) -> Entries:
    """Run locust and return its statistics. It writes its HTML report to `report`.

    Raises `BenchFailed` if locust fails.
    """
    if report:
        report.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stats = Path(folder, "stats")
        done = subprocess.run(
            [*_command(host, name, load), *(["--html", str(report)] if report else []), "--json-file", str(stats)],
            env={**os.environ, "BENCH_TOKEN": token},
            check=False,
            capture_output=True,
            text=True,
            timeout=load.seconds + MARGIN_SECONDS,
        )
        counted = stats.with_suffix(".json")
        if done.returncode not in (KEPT, BROKEN) or not counted.exists():
            raise BenchFailed(f"locust ended with {done.returncode}:\n{done.stderr}")
        entries: Entries = json.loads(counted.read_text())
        return entries


def _command(host: str, name: str, load: Load) -> list[str]:
    file = str(FOLDER / f"{name}.py")
    shape = ["-u", str(load.users), "-r", str(load.users), "-t", f"{load.seconds}s"]
    quiet = ["--headless", "--only-summary", "--loglevel", "WARNING"]
    return [sys.executable, "-m", "locust", "-f", file, "--host", host, *shape, *quiet]

"""Runs the locust scenario and takes its figures from locust's statistics."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.targets import BenchFailed

FOLDER = Path(__file__).parent
LOCUSTFILE = FOLDER / "locustfile.py"
HTML = FOLDER / "results" / "scenario.html"
EVENT = "event"
"""locust's name of the requests that must be answered 200."""
MARGIN_SECONDS = 60
MEDIAN_MS_MIN = 5.0
"""A smaller median counts as this in the ratio: locust rounds to milliseconds, and any pause is many of them."""
KEPT, BROKEN = 0, 1
"""locust's exit codes, as the scenario sets them."""


class Scenario(msgspec.Struct, frozen=True):
    users: int = 40
    seconds: int = 10


def measure(port: int, token: str, scenario: Scenario) -> dict[str, float]:
    """The figures of a run against the service on `port`; its report is left in `HTML`."""
    HTML.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stats = Path(folder, "stats")
        run = subprocess.run(
            [*_command(port, scenario), "--html", str(HTML), "--json-file", str(stats)],
            env={**os.environ, "BENCH_TOKEN": token},
            check=False,
            capture_output=True,
            text=True,
            timeout=scenario.seconds + MARGIN_SECONDS,
        )
        if run.returncode not in (KEPT, BROKEN):
            raise BenchFailed(f"locust ended with {run.returncode}:\n{run.stderr}")
        return figures(json.loads(stats.with_suffix(".json").read_text()))


def _command(port: int, scenario: Scenario) -> list[str]:
    load = ["-u", str(scenario.users), "-r", str(scenario.users), "-t", f"{scenario.seconds}s"]
    quiet = ["--headless", "--only-summary", "--loglevel", "WARNING"]
    host = f"http://127.0.0.1:{port}"
    return [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", host, *load, *quiet]


def figures(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Failures of all requests; times of the events alone. Nothing if no event was answered.

    `entries` are locust's statistics, one a name; `response_times` maps milliseconds to counts.
    """
    times: Counter[float] = Counter()
    for entry in entries:
        if entry["name"] == EVENT:
            times.update({float(ms): count for ms, count in entry["response_times"].items()})
    if not times:
        return {}
    median, p99 = percentile(times, 0.5), percentile(times, 0.99)
    return {
        "scenario.failures": sum(entry["num_failures"] for entry in entries),
        "scenario.tail_ratio": p99 / max(median, MEDIAN_MS_MIN),
        "scenario.median_ms": median,
        "scenario.p99_ms": p99,
    }


def percentile(times: Mapping[float, int], share: float) -> float:
    """The least time that at least `share` of all did not exceed."""
    left = share * sum(times.values())
    for time in sorted(times):
        left -= times[time]
        if left <= 0:
            return time
    return max(times)

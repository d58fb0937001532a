"""`python -m bench.report.history`: prints the saturation results of every commit, for Prometheus and Grafana.

The output is OpenMetrics with each result's own time. `promtool tsdb create-blocks-from openmetrics` imports it.
"""

import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

import msgspec

from bench.paths import ROOT

FILES = ("bench/results/saturation-mariadb.json", "bench/results/saturation-mysql.json")
NAMES = {
    "bench_events_per_second": "Median of the rounds, committed and confirmed.",
    "bench_service_cpu_seconds": "CPU time of the service an event, median of the rounds.",
    "bench_p99_seconds": "99th percentile of the answers' time at saturation, median of the rounds.",
}


_UNFIT = re.compile(r'[^ -~]|["\\]')
"""Characters that a label's value would need to escape."""


class Point(msgspec.Struct, frozen=True):
    """One figure of a result."""

    name: str
    labels: Mapping[str, str]
    time: float
    value: float


def results() -> Iterator[tuple[str, Any]]:
    """Yield database and result for every version of the files in git."""
    for file in FILES:
        database = file.removesuffix(".json").rpartition("-")[2]
        for commit in _git("log", "--format=%H", "--", file).split():
            yield database, msgspec.json.decode(_git("show", f"{commit}:{file}"))


def points(database: str, result: Any) -> Iterator[Point]:
    """Yield the figures of each case that has rounds."""
    time = datetime.fromisoformat(result["stamp"]["taken_at"]).timestamp()
    for case, rounds in result["rounds"].items():
        labels = {"case": case, "database": database, "commit": result["stamp"]["commit"]}
        yield Point("bench_events_per_second", labels, time, _median(rounds, lambda one: one["per_second"]))
        cpu = _median(rounds, lambda one: one["cpu_us"]["service"] / 1e6)
        yield Point("bench_service_cpu_seconds", labels, time, cpu)
        yield Point("bench_p99_seconds", labels, time, _median(rounds, lambda one: one["p99_ms"] / 1e3))


def _median(rounds: Sequence[Any], figure: Callable[[Any], float]) -> float:
    return float(statistics.median(figure(one) for one in rounds))


def exposition(found: Sequence[Point]) -> Iterator[str]:
    """Yield lines of OpenMetrics, ordered by name, series and time."""
    for name, text in NAMES.items():
        yield f"# TYPE {name} gauge"
        yield f"# HELP {name} {text}"
        for point in sorted((one for one in found if one.name == name), key=lambda one: (_series(one), one.time)):
            yield f"{_series(point)} {point.value:.9g} {point.time:.0f}"
    yield "# EOF"


def _series(point: Point) -> str:
    labels = ",".join(f'{name}="{_UNFIT.sub("_", text)}"' for name, text in point.labels.items())
    return f"{point.name}{{{labels}}}"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main(output: TextIO = sys.stdout) -> None:
    found = [point for database, result in results() for point in points(database, result)]
    output.writelines(f"{line}\n" for line in exposition(found))


if __name__ == "__main__":
    main()

from typing import Any

import pytest

from bench.report.history import exposition, points

ROUNDS = [
    {"per_second": 100.0, "p99_ms": 3.0, "cpu_us": {"service": 50.0}},
    {"per_second": 300.0, "p99_ms": 9.0, "cpu_us": {"service": 70.0}},
    {"per_second": 200.0, "p99_ms": 4.0, "cpu_us": {"service": 60.0}},
]


def result(at: str) -> Any:
    return {
        "stamp": {"commit": "abc1234", "taken_at": f"2026-11-25T0{at}:00:00+00:00"},
        "rounds": {'no-op, "x"': ROUNDS},
    }


def test_figures_are_medians_of_the_rounds() -> None:
    found = {point.name: point.value for point in points("mariadb", result("8"))}
    assert found == {
        "bench_events_per_second": 200.0,
        "bench_service_cpu_seconds": pytest.approx(60e-6),
        "bench_p99_seconds": pytest.approx(4e-3),
    }


def test_lines_are_ordered_and_end_with_eof() -> None:
    found = [point for at in "98" for point in points("mariadb", result(at))]
    lines = list(exposition(found))
    assert lines[-1] == "# EOF"
    samples = [line for line in lines if line.startswith("bench_events_per_second{")]
    assert samples[0].startswith('bench_events_per_second{case="no-op, _x_",database="mariadb",commit="abc1234"} 200 ')
    assert samples == sorted(samples)

"""Figures taken from the reports of pytest-benchmark, locust and wrk."""

import pytest

from bench.harness import wrk
from bench.harness.rounds import Round, ratio, round_of
from bench.harness.targets import BenchFailed
from bench.micro.figures import ratios
from bench.saturation import HEAD, row

WRK_OUTPUT = """\
Running 5s test @ http://127.0.0.1:8000/
  1 threads and 256 connections
{"requests": 1010, "duration_us": 5000000, "p50_us": 20500, "p99_us": 99000, "max_us": 120000, \
"not_2xx": 10, "connect": 1, "read": 2, "write": 3, "timeout": 4}
"""


def answers(requests: int = 1000, not_2xx: int = 0) -> wrk.Answers:
    return wrk.Answers(requests, 2.0, 1.0, 5.0, 9.0, not_2xx, 0, 0.02)


def round_with(service_us: float, **more: float) -> Round:
    return Round(1000, 0, 500.0, 1.0, 5.0, {"service": service_us, **more}, 0.25)


def test_ratio_of_each_micro_case_is_read_by_its_name() -> None:
    report = {"benchmarks": [{"name": "decode", "stats": {}, "extra_info": {"ratio": 2.5}}]}

    assert ratios(report) == {"micro.decode": 2.5}


def test_wrk_output_is_read_from_its_last_line() -> None:
    read = wrk.parse(WRK_OUTPUT, cpu_seconds=0.5)

    assert (read.seconds, read.p50_ms, read.p99_ms, read.max_ms) == (5.0, 20.5, 99.0, 120.0)
    assert (read.events, read.not_2xx, read.socket_errors, read.failures) == (1000, 10, 10, 20)


def test_wrk_output_without_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        wrk.parse("Running 5s test\nunable to connect\n", cpu_seconds=0.0)


def test_cpu_time_is_per_event_answered_200() -> None:
    made = round_of(answers(requests=1100, not_2xx=100), {"service": 0.05, "database": 0.01}, drain_seconds=0.1)

    assert made.cpu_us == pytest.approx({"service": 50.0, "database": 10.0, "generator": 20.0})
    assert (made.events, made.failures, made.per_second) == (1000, 100, 500.0)


def test_round_without_events_has_no_figures() -> None:
    with pytest.raises(BenchFailed):
        round_of(answers(requests=5, not_2xx=5), {"service": 0.05}, drain_seconds=0.0)


def test_ratio_is_the_median_over_neighboring_rounds() -> None:
    slow_then_fast = [round_with(us) for us in (200.0, 100.0, 300.0)]
    references = [round_with(us) for us in (100.0, 50.0, 20.0)]

    assert ratio(slow_then_fast, references) == 2.0


def test_row_of_the_table_has_a_cell_for_each_column_and_a_dash_for_unknown_figures() -> None:
    measured = {"no-op": [round_with(20.0)], "quorum": [round_with(50.0, database=10.0)]}

    cells = dict(zip(HEAD, row("quorum", measured), strict=True))

    assert (cells["÷ no-op"], cells["database"], cells["broker"]) == ("2.50", "10.0", "-")

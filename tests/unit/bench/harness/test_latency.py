"""Latency figures: percentiles, parts of a run, ratios and tables."""

import math
from array import array

import pytest

from bench.harness.cpu import Components
from bench.latency.events import event_of
from bench.latency.figures import CURVE, Figures, Round, curve, figures, round_of, split
from bench.latency.steps import BACK_TO_BACK, HALF, LOW, NOOP, PACED, Commit, Load, Reach, Step, Steps, loads, reach
from bench.latency.tables import STEP_HEAD, TIMES, reach_table, steps_table, time_cells
from bench.openloop.plan import Plan, Recording

WITHIN_A_STEP = 0.001
"""The relative error of three digits."""


def recording_of(latency: list[float]) -> Recording:
    """Return a recording with a request due every second from 100 on."""
    due = array("d", map(float, range(len(latency))))
    return Recording(100.0, due, array("d", latency), array("d", [0.001] * len(latency)), {}, 0.5)


def figures_with(p50_ms: float, p99_ms: float, failures: int = 0) -> Figures:
    return Figures(1000, failures, p50_ms, p50_ms * 2, p99_ms, p99_ms * 2, p99_ms * 3)


def steps_with(low: list[Figures], half: list[Figures], commit: list[Figures], paced: list[Figures]) -> Steps:
    def step(per_second: float, each: list[Figures]) -> Step:
        return Step(per_second, [Round(one, 0.1, 0.2, 15.0, 60.0, {}) for one in each], [])

    commits = {BACK_TO_BACK: Commit(commit, []), PACED: Commit(paced, [])}
    return Steps({LOW: step(100.0, low), HALF: step(5000.0, half)}, commits)


def test_percentiles_are_those_of_all_answers() -> None:
    found = figures([number / 1000 for number in range(1, 1001)])

    assert (found.answered, found.failures) == (1000, 0)
    assert found.p50_ms == pytest.approx(500, rel=WITHIN_A_STEP)
    assert found.p99_ms == pytest.approx(990, rel=WITHIN_A_STEP)
    assert found.p999_ms == pytest.approx(999, rel=WITHIN_A_STEP)
    assert found.max_ms == pytest.approx(1000, rel=WITHIN_A_STEP)


def test_request_without_answer_is_a_failure_and_no_latency() -> None:
    found = figures([0.001, math.nan, 0.002])

    assert (found.answered, found.failures, found.max_ms) == (2, 1, 2.0)


def test_nothing_answered_has_no_percentiles() -> None:
    found = figures([math.nan])

    assert (found.answered, found.failures) == (0, 1)
    assert math.isnan(found.p50_ms)


def test_curve_has_a_point_a_percentile_up_to_the_slowest() -> None:
    points = curve([0.001] * 99 + [0.1])

    assert [percent for percent, _ in points] == list(CURVE)
    assert points[0] == (0.0, 1.0)
    assert points[-1][1] == pytest.approx(100, rel=WITHIN_A_STEP)


def test_round_has_the_generators_lateness_and_cost() -> None:
    found = round_of(recording_of([0.002] * 10), 0.001)

    assert (found.late_p50_ms, found.late_p99_ms) == (1.0, 1.0)
    assert found.generator_cpu_us == pytest.approx(50_000)


def test_run_is_split_by_due_times() -> None:
    within, outside = split(recording_of([0.1, 0.2, 0.3, 0.4]), 101.0, 103.0)

    assert (within, outside) == ([0.2, 0.3], [0.1, 0.4])


def test_event_has_its_place_in_the_run() -> None:
    plan = Plan(port=0, token="", per_second=1.0, seconds=4.0)
    event = event_of(plan, recording_of([0.1, 0.2, math.nan, 0.4]), (101.0, 103.0), backlog=7)

    assert (event.from_seconds, event.to_seconds, event.backlog_events) == (1.0, 3.0, 7)
    assert (event.within.latency.answered, event.within.latency.failures) == (1, 1)
    assert event.outside.latency.answered == 2


class FakeTarget:
    """A target with a port, and nothing else."""

    token = "a-token"

    def __init__(self, port: int) -> None:
        self.port = port

    def components(self) -> Components:
        return {}

    def drain(self) -> None: ...

    def rows(self) -> int | None:
        return None

    def clear(self) -> None: ...


def test_rates_are_shares_of_saturation_beside_the_low_one_and_the_no_op_has_half() -> None:
    service, noop = FakeTarget(1), FakeTarget(2)

    assert loads(service, noop, 8000.0, [10, 50]) == {
        LOW: Load(service, 100.0),
        "10 %": Load(service, 800.0),
        HALF: Load(service, 4000.0),
        NOOP: Load(noop, 4000.0),
    }


def test_ratios_are_taken_round_by_round() -> None:
    commit = [figures_with(1.0, 2.0), figures_with(2.0, 4.0), figures_with(1.0, 1.0)]
    half = [figures_with(1.0, 6.0), figures_with(1.0, 20.0), figures_with(1.0, 4.0)]
    low = [figures_with(2.0, 5.0), figures_with(2.0, 5.0), figures_with(3.0, 5.0)]

    found = reach(steps_with(low, half, commit, paced=[figures_with(2.0, 9.0)] * 3))

    assert found["p99 at 50 %, ms"].figure == 6.0
    assert found["p99 at 50 % ÷ p99 of a commit"].rounds == [3.0, 5.0, 4.0]
    assert found["p50 at 100/s ÷ p50 of a commit"].rounds == [2.0, 1.0, 3.0]
    assert found["p50 at 100/s ÷ p50 of a commit at 100/s"].figure == 1.0


def test_reach_of_a_step_that_was_not_run_is_left_out() -> None:
    measured = steps_with([figures_with(1.0, 2.0)], [], [figures_with(1.0, 2.0)], [figures_with(1.0, 2.0)])
    without_half = Steps({LOW: measured.steps[LOW]}, measured.commits)

    assert all("50 %" not in name for name in reach(without_half))


def test_reach_is_missed_above_its_bound() -> None:
    lines = reach_table({"kept": Reach([1.0, 2.0, 9.0], 2.0), "lost": Reach([2.1], 2.0)}).splitlines()

    assert [line.split()[-1] for line in lines[2:]] == ["reached", "missed"]


def test_times_are_medians_of_rounds_but_the_greatest_maximum_and_all_failures() -> None:
    cells = dict(zip(TIMES, time_cells([figures_with(1.0, 2.0, 1), figures_with(3.0, 8.0, 2)]), strict=True))

    assert (cells["p50"], cells["p99 ms"]) == ("2.00", "5.00 (2.00-8.00)")
    assert (cells["max"], cells["failures"]) == ("24.0", "3")


def test_table_of_steps_has_a_line_a_load() -> None:
    one = [figures_with(1.0, 2.0)]
    lines = steps_table(steps_with(one, one, one, one)).splitlines()

    assert lines[0].split()[0] == STEP_HEAD[0]
    assert [line[:6].strip() for line in lines[2:]] == ["a comm", "a comm", LOW, HALF]

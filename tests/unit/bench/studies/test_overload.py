import math

import pytest

from bench.harness.memory import Sample, tenth
from bench.harness.wrk import Answers
from bench.latency.figures import Figures
from bench.report.stamp import Stamp
from bench.studies.overload import Overload


def answers(events: int, seconds: float) -> Answers:
    return Answers(events + 5, seconds, 10.0, 300.0, 400.0, 5, 0, 1.0)


def second(p99_ms: float) -> Figures:
    return Figures(100, 0, 1.0, 2.0, p99_ms, p99_ms, p99_ms)


def overload(after: list[float]) -> Overload:
    taken = Stamp("", "", "", 0.0, {})
    seconds = [second(p99_ms) for p99_ms in after]
    return Overload(taken, "", answers(10_000, 1.0), answers(90_000, 10.0), second(4.0), seconds, [], 1.0)


def test_goodput_is_of_events_not_of_refusals() -> None:
    assert overload([]).goodput == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("after", "felt"), [([3.0, 4.0], 0), ([90.0, 3.0], 1), ([90.0, 3.0, 9.0, 3.0], 3), ([3.0, math.nan], 2)]
)
def test_recovery_ends_when_all_later_seconds_are_normal(after: list[float], felt: int) -> None:
    assert overload(after).recovery_seconds == felt


def test_tenths_are_medians_of_their_samples() -> None:
    samples = [Sample(float(number), float(number), 0.0) for number in range(100)]
    assert (tenth(samples, 1), tenth(samples, 9), tenth(samples[:3], 9)) == (14.5, 94.5, 2.0)

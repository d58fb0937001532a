"""Verdicts of a comparison of base and head."""

from collections.abc import Sequence

import pytest

from bench.compare import report
from bench.harness.rounds import Round
from bench.report.comparison import FIGURES, ROUNDS_MIN, Figure, compare, spread

CPU = Figure(lambda made: made.cpu_us["service"], slower_max=0.1)
RATE = Figure(lambda made: made.per_second, slower_max=0.1, more_is_better=True)
EVEN = [1.0] * ROUNDS_MIN


def rounds(values: Sequence[float]) -> list[Round]:
    """Make rounds; each value is both the rate and the CPU time."""
    return [Round(1000, 0, value, 1.0, value, {"service": value}, 0.0) for value in values]


@pytest.mark.parametrize(
    ("head", "cpu", "rate"),
    [
        ([1.2, 1.3, 1.25, 1.2, 1.3, 1.21], "slower", "faster"),
        ([0.8, 0.7, 0.75, 0.8, 0.7, 0.79], "faster", "slower"),
        ([1.2, 1.3, 0.99, 1.2, 1.3, 1.21], "no difference seen", "no difference seen"),
        (EVEN, "no difference seen", "no difference seen"),
    ],
)
def test_difference_is_seen_when_all_of_the_spread_is_on_one_side(head: list[float], cpu: str, rate: str) -> None:
    assert compare(CPU, rounds(EVEN), rounds(head)).outcome == cpu
    assert compare(RATE, rounds(EVEN), rounds(head)).outcome == rate


@pytest.mark.parametrize(("figure", "within", "beyond"), [(CPU, 1.09, 1.11), (RATE, 1 / 1.09, 1 / 1.11)])
def test_slower_fails_beyond_its_bound_only(figure: Figure, within: float, beyond: float) -> None:
    kept = compare(figure, rounds(EVEN), rounds([within] * ROUNDS_MIN))

    assert (kept.outcome, kept.fails) == ("slower", False)
    assert compare(figure, rounds(EVEN), rounds([beyond] * ROUNDS_MIN)).fails


def test_faster_never_fails() -> None:
    assert not compare(CPU, rounds(EVEN), rounds([0.1] * ROUNDS_MIN)).fails


def test_large_median_within_a_spread_that_reaches_one_does_not_fail() -> None:
    assert not compare(CPU, rounds(EVEN), rounds([0.9, 2.0, 2.0, 2.0, 2.0, 2.0])).fails


def test_machine_that_changes_its_speed_between_rounds_is_no_difference() -> None:
    paces = [10.0, 50.0, 20.0, 90.0, 10.0, 70.0]

    same = compare(CPU, rounds(paces), rounds(paces))

    assert (same.ratio, same.least, same.most) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("count", "left_out"), [(6, 0), (8, 0), (9, 1), (12, 2), (15, 3), (20, 5)])
def test_spread_leaves_out_as_many_of_each_end_as_the_sign_test_allows(count: int, left_out: int) -> None:
    """Critical values of the two-sided sign test at 5 %, from textbooks."""
    assert spread([float(number) for number in range(count)]) == (left_out, count - 1 - left_out)


def test_spread_of_too_few_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        spread([1.0] * (ROUNDS_MIN - 1))


def test_report_names_the_slower_figure_and_its_bound() -> None:
    slow = compare(CPU, rounds(EVEN), rounds([1.5] * ROUNDS_MIN))
    same = compare(CPU, rounds(EVEN), rounds(EVEN))
    compared = dict.fromkeys(FIGURES, same) | {next(iter(FIGURES)): slow}

    lines = report(compared).splitlines()

    assert lines[-2:] == [
        "slower: service CPU µs an event is 1.50 times that of base, beyond its bound of 10%.",
        "compare: 3 passed, 1 failed",
    ]

"""A few schedules, and all that once failed. `make simulate` runs as many as one likes."""

import pytest

from tests.simulation.__main__ import corpus
from tests.simulation.chance import SeededChance
from tests.simulation.running import run
from tests.simulation.shrinking import kind_of, least

SEEDS = range(6)


@pytest.mark.parametrize("seed", [*corpus(), *SEEDS])
def test_a_schedule_keeps_every_promise(seed: int) -> None:
    result = run(seed)
    assert result.failure is None, f"python -m tests.simulation --seeds {seed}"
    assert result.events > 100


def test_a_schedule_without_faults_has_none() -> None:
    kinds = {decision.what for decision in run(0).decisions if decision.chosen is True}
    result = run(0, unused=kinds)
    assert result.failure is None
    assert not [decision for decision in result.decisions if decision.chosen is True]


def test_a_decision_that_is_left_out_changes_no_other() -> None:
    first = SeededChance(3)
    wanted = [first.happens("one", 0.5) for _ in range(20)]
    left_out = [decision.name for decision in first.decisions][:1]
    second = SeededChance(3, left_out)
    assert [second.happens("one", 0.5) for _ in range(20)].count(True) == wanted.count(True) - 1
    assert second.pick("two", 1000) == first.pick("two", 1000)


def test_shrinking_keeps_what_the_failure_needs() -> None:
    needed = {3, 17, 18}
    assert least(range(40), lambda left: needed <= set(left)) == sorted(needed)


def test_failures_that_differ_in_numbers_are_of_one_kind() -> None:
    assert kind_of("17 entries in the outbox") == kind_of("3 entries in the outbox")

"""A few schedules, and all that once failed. `make simulate` runs as many as one likes.

They run in a process of their own: the garbage of killed workers must meet no other test.
"""

import subprocess
import sys
from collections.abc import Mapping

import msgspec
import pytest

from tests.paths import ROOT
from tests.simulation.__main__ import corpus
from tests.simulation.chance import SeededChance
from tests.simulation.running import Result
from tests.simulation.shrinking import kind_of, least

SEEDS = [*corpus(), *range(6)]
RUN = """
import sys, msgspec
from tests.simulation.running import run, run_all
sys.stdout.buffer.write(msgspec.json.encode({}))
"""
WITHOUT_FAULTS = "[run(0, unused={one.what for one in run(0).decisions if one.chosen is True})]"


def results_of(expression: str) -> list[Result]:
    command = [sys.executable, "-c", RUN.format(expression)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=list[Result])


@pytest.fixture(scope="module")
def results() -> Mapping[int, Result]:
    return {result.seed: result for result in results_of(f"run_all({SEEDS})")}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_schedule_keeps_every_promise(results: Mapping[int, Result], seed: int) -> None:
    assert results[seed].failure is None, f"python -m tests.simulation --seeds {seed}"
    assert results[seed].events > 100


def test_a_schedule_without_faults_has_none() -> None:
    (result,) = results_of(WITHOUT_FAULTS)
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

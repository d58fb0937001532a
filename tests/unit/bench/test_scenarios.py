"""Figures of locust's scenarios, and the budgets that each scenario must have."""

from typing import Any

import pytest

from bench.harness.targets import BenchFailed
from bench.report.verdicts import of_parts, read_budgets
from bench.scenarios.figures import (
    AFTER,
    BEFORE,
    BURST,
    MS_MIN,
    REFERENCE,
    events_answered,
    figures,
    named,
    percentile,
)
from bench.scenarios.runs import FOLDER, SCENARIOS, Load, judgeable


def entry(name: str, times: dict[int, int], failures: int = 0) -> dict[str, Any]:
    """Make an entry in locust's form."""
    requests = sum(times.values())
    return {"name": name, "num_requests": requests, "num_failures": failures, "response_times": times}


def test_all_failures_count_but_events_alone_are_timed() -> None:
    refused = entry("refused: no token", {1: 500}, failures=2)
    measured = figures([entry("event", {10: 98, 50: 2}, failures=1), refused, entry(REFERENCE, {5: 98, 10: 2})])

    assert measured == {"failures": 3, "median_ms": 10.0, "p99_ms": 50.0, "wait_ratio": 2.0, "tail_ratio": 5.0}


@pytest.mark.parametrize("name", ["event", REFERENCE, "refused: no token"])
def test_scenario_without_events_or_without_references_has_failures_only(name: str) -> None:
    assert figures([entry(name, {1: 5}, failures=2)]) == {"failures": 2}


def test_scenario_without_requests_has_no_figures() -> None:
    assert figures([]) == {}


def test_scenario_that_did_nothing_is_not_judged() -> None:
    with pytest.raises(BenchFailed, match=r"only 3 requests in its 5 s"):
        judgeable("steady", [entry("event", {1: 3})], Load(users=1, seconds=5))


def test_failures_without_times_are_judged() -> None:
    assert judgeable("steady", [entry("event", {}, failures=2)], Load(users=1, seconds=5)) == {
        "scenario.steady.failures": 2
    }


def test_ratios_do_not_grow_because_the_reference_is_tiny() -> None:
    measured = figures([entry("event", {20: 100}), entry(REFERENCE, {1: 100})])

    assert measured["wait_ratio"] == measured["tail_ratio"] == 20 / MS_MIN


@pytest.mark.parametrize(("before", "after", "ratio"), [(10, 30, 3.0), (1, 10, 2.0), (20, 10, 0.5)])
def test_recovery_is_the_median_after_the_burst_divided_by_the_one_before(
    before: int, after: int, ratio: float
) -> None:
    phases = [entry(BEFORE, {before: 10}), entry(BURST, {500: 100}), entry(AFTER, {after: 10})]

    assert figures([*phases, entry(REFERENCE, {5: 10})])["recovery_ratio"] == ratio


def test_answered_events_of_all_phases_are_counted() -> None:
    entries = [entry(BEFORE, {1: 10}), entry(BURST, {1: 100}, failures=7), entry("refused: no JSON", {1: 50})]

    assert events_answered(entries) == 103


def test_figures_are_named_as_the_budgets_are() -> None:
    assert named("steady", {"failures": 0.0}) == {"scenario.steady.failures": 0.0}


def test_each_scenario_is_a_locustfile_of_that_name() -> None:
    shared = {"__init__", "base", "figures", "runs"}
    assert {file.stem for file in FOLDER.glob("*.py")} - shared == set(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_has_budgets_of_its_own_for_failures_and_latency(name: str) -> None:
    own = {budget.rpartition(".")[2] for budget in of_parts(read_budgets(), [f"scenario.{name}"])}

    assert own - {"recovery_ratio"} == {"failures", "wait_ratio", "tail_ratio", "median_ms", "p99_ms"}


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.51, 3.0), (0.99, 4.0), (1.0, 4.0)])
def test_percentile_is_the_least_time_that_the_share_does_not_exceed(share: float, expected: float) -> None:
    assert percentile({1.0: 1, 2.0: 1, 3.0: 1, 4.0: 1}, share) == expected

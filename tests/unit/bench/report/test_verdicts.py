"""Verdicts of budgets: passed or broken, and the report of a broken budget."""

from pathlib import Path

import msgspec
import pytest

from bench.report.verdicts import Budget, broken, judge, of_parts, read_budgets, report
from tests.paths import ROOT

AT_MOST = Budget(what="cost of a step", place="ingest/step.py", at_most=2.0)
AT_LEAST = Budget(what="events a second", place="ingest/pipeline/batcher.py", at_least=100.0)
ABSOLUTE = msgspec.structs.replace(AT_LEAST, absolute=True)


@pytest.mark.parametrize(
    ("budget", "figure", "outcome"),
    [
        (AT_MOST, 2.0, "ok"),
        (AT_MOST, 2.01, "BROKEN"),
        (AT_LEAST, 100.0, "ok"),
        (AT_LEAST, 99.0, "BROKEN"),
        (AT_MOST, float("nan"), "BROKEN"),
        (AT_LEAST, float("nan"), "BROKEN"),
    ],
)
def test_figure_is_held_to_its_bound(budget: Budget, figure: float, outcome: str) -> None:
    assert judge({"a.b": budget}, {"a.b": figure}, absolute=False)[0].outcome == outcome


def test_figure_that_was_not_measured_fails_the_run() -> None:
    verdicts = judge({"a.b": AT_MOST}, {}, absolute=False)

    assert [verdict.outcome for verdict in verdicts] == ["NOT MEASURED"]
    assert broken(verdicts) == verdicts


@pytest.mark.parametrize(("absolute", "outcome"), [(False, "not gated"), (True, "BROKEN")])
def test_absolute_budget_gates_only_where_asked_to(absolute: bool, outcome: str) -> None:
    assert judge({"a.b": ABSOLUTE}, {"a.b": 1.0}, absolute)[0].outcome == outcome


def test_broken_budget_is_reported_with_name_figure_bound_and_place() -> None:
    lines = report(judge({"micro.step": AT_MOST}, {"micro.step": 4.25}, absolute=False), {}).splitlines()

    assert "budget broken: micro.step is 4.25, its bound is <= 2 (cost of a step). Look at ingest/step.py." in lines


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        ({"micro": "the interpreter ended"}, "the reason is above"),
        ({}, "its part ran, but has no such figure"),
        ({"micros": "the interpreter ended"}, "its part ran, but has no such figure"),
    ],
)
def test_missing_figure_has_its_reason_and_does_not_blame_the_code(failed: dict[str, str], reason: str) -> None:
    lines = report(judge({"micro.step": AT_MOST}, {}, absolute=False), failed).splitlines()

    assert lines[-2] == f"not measured: micro.step; {reason}. This says nothing about the code: run it again."
    assert "ingest/step.py" not in "\n".join(lines)
    assert all(f"{part} could not be measured: {why}" in lines for part, why in failed.items())


def test_last_line_counts_what_gates() -> None:
    budgets = {"a.kept": AT_MOST, "a.broken": AT_LEAST, "a.absolute": ABSOLUTE}
    figures = {"a.kept": 1.0, "a.broken": 1.0, "a.absolute": 1.0}

    assert report(judge(budgets, figures, absolute=False), {}).splitlines()[-1] == "budgets: 1 passed, 1 failed"


def test_parts_are_chosen_by_name() -> None:
    budgets = {"micro.a": AT_MOST, "scenario.x.a": AT_LEAST, "scenario.xy.a": AT_LEAST}

    assert list(of_parts(budgets, ["scenario"])) == ["scenario.x.a", "scenario.xy.a"]
    assert list(of_parts(budgets, ["scenario.x"])) == ["scenario.x.a"]


def test_places_of_all_budgets_exist() -> None:
    for budget in read_budgets().values():
        assert (ROOT / budget.place.partition(":")[0].partition(",")[0]).is_file()


@pytest.mark.parametrize("bounds", ["", "at_most = 1.0\nat_least = 1.0"])
def test_budget_has_just_one_bound(tmp_path: Path, bounds: str) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(f'[a.b]\nwhat = "x"\nplace = "y"\n{bounds}\n')

    with pytest.raises(msgspec.ValidationError):
        read_budgets(file)


def test_budget_is_named_by_all_tables_that_it_is_in(tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text('[a.b]\nwhat = "x"\nplace = "y"\nat_most = 1\n[a.c.d]\nwhat = "x"\nplace = "y"\nat_least = 1\n')

    assert list(read_budgets(file)) == ["a.b", "a.c.d"]

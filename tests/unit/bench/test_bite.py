"""The slowdowns of `make bench-bite` can be applied to the current code."""

from pathlib import Path

import pytest

from bench.bite import names_broken
from bench.paths import ROOT
from bench.report.verdicts import judge, of_parts, read_budgets, report
from bench.slowdowns import SLOWDOWNS, Slowdown, apply


@pytest.mark.parametrize("slowdown", SLOWDOWNS, ids=lambda slowdown: slowdown.budget)
def test_slowdown_applies_to_the_code_as_it_is(slowdown: Slowdown, tmp_path: Path) -> None:
    file = tmp_path / slowdown.file
    file.parent.mkdir(parents=True)
    original = (ROOT / slowdown.file).read_text()
    file.write_text(original)

    apply(slowdown, tmp_path)

    compile(file.read_text(), str(file), "exec")
    assert file.read_text() != original


@pytest.mark.parametrize("text", ["", "same\nsame\n"])
def test_slowdown_needs_its_line_exactly_once(text: str, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(text)

    with pytest.raises(ValueError, match="just once"):
        apply(Slowdown("", "code.py", "same\n", "other\n", "micro", "micro.decode"), tmp_path)


@pytest.mark.parametrize("slowdown", SLOWDOWNS, ids=lambda slowdown: slowdown.budget)
def test_budget_counts_as_bitten_only_if_it_was_measured_and_broken(slowdown: Slowdown) -> None:
    budgets = of_parts(read_budgets(), [slowdown.part])

    def output(figures: dict[str, float]) -> str:
        return report(judge(budgets, figures, absolute=False), {})

    assert names_broken(slowdown.budget, output({slowdown.budget: 1000.0}))
    assert not names_broken(slowdown.budget, output({slowdown.budget: 0.0}))
    assert not names_broken(slowdown.budget, output({}))

"""Budgets and what becomes of them. Pure, but for reading `budgets.toml`."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from bench.paths import BENCH
from bench.report.tables import table

FILE = BENCH / "budgets.toml"

Outcome = Literal["ok", "BROKEN", "not gated"]


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A bound of one figure. Just one of `at_most` and `at_least` is given."""

    what: str
    place: str
    """Where in the code to look first when it is broken."""
    at_most: float | None = None
    at_least: float | None = None
    absolute: bool = False
    """A time or a rate, which depends on the machine: it gates on the user's own hardware only."""

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("a budget has either at_most or at_least")

    @property
    def bound(self) -> str:
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"

    def holds(self, figure: float | None) -> bool:
        """A figure that is missing, or not a number, holds nothing."""
        if figure is None:
            return False
        return figure <= self.at_most if self.at_most is not None else figure >= (self.at_least or 0.0)


class Verdict(msgspec.Struct, frozen=True):
    name: str
    figure: float | None
    budget: Budget
    outcome: Outcome

    @property
    def explanation(self) -> str:
        """What to tell the one who broke it."""
        measured = "was not measured" if self.figure is None else f"is {self.figure:.3g}"
        budget = self.budget
        return f"{self.name} {measured}, its bound is {budget.bound} ({budget.what}). Look at {budget.place}."


def read_budgets(file: Path = FILE) -> dict[str, Budget]:
    """`part.figure`, or `scenario.name.figure`, → its budget. Raises msgspec.ValidationError."""
    return msgspec.convert(dict(_leaves("", tomllib.loads(file.read_text()))), dict[str, Budget])


def _leaves(name: str, node: Any) -> Iterator[tuple[str, Any]]:
    """The innermost tables, by the names of all that they are in."""
    if not isinstance(node, dict) or not any(isinstance(value, dict) for value in node.values()):
        yield name, node
        return
    for key, value in node.items():
        yield from _leaves(f"{name}.{key}" if name else key, value)


def of_parts(budgets: Mapping[str, Budget], parts: Sequence[str]) -> dict[str, Budget]:
    """The budgets of `parts`: of `scenario` all that are in it, of `scenario.burst` its own."""
    within = tuple(f"{part}." for part in parts)
    return {name: budget for name, budget in budgets.items() if name.startswith(within)}


def judge(budgets: Mapping[str, Budget], figures: Mapping[str, float], absolute: bool) -> list[Verdict]:
    """A verdict a budget, in their order; `absolute` figures gate only where asked to."""
    return [
        Verdict(name, figures.get(name), budget, _outcome(budget, figures.get(name), absolute))
        for name, budget in budgets.items()
    ]


def _outcome(budget: Budget, figure: float | None, absolute: bool) -> Outcome:
    if budget.absolute and not absolute:
        return "not gated"
    return "ok" if budget.holds(figure) else "BROKEN"


def broken(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.outcome == "BROKEN"]


def report(verdicts: Sequence[Verdict]) -> str:
    """A table, a line a broken budget, and the closing line that CI reads."""
    rows = [
        [
            verdict.name,
            "-" if verdict.figure is None else f"{verdict.figure:.3g}",
            verdict.budget.bound,
            verdict.outcome,
        ]
        for verdict in verdicts
    ]
    failed = broken(verdicts)
    passed = sum(verdict.outcome == "ok" for verdict in verdicts)
    return "\n".join(
        [
            table(["budget", "figure", "bound", "verdict"], rows),
            *(f"budget broken: {verdict.explanation}" for verdict in failed),
            f"budgets: {passed} passed, {len(failed)} failed",
        ]
    )

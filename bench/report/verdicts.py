"""Budgets and their verdicts. Pure, except that it reads `budgets.toml`."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from bench.paths import BENCH
from bench.report.tables import table

FILE = BENCH / "budgets.toml"

Outcome = Literal["ok", "BROKEN", "NOT MEASURED", "not gated"]
"""`NOT MEASURED` fails the run as `BROKEN` does, but says nothing about the code."""


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The bound of one figure: either `at_most` or `at_least`."""

    what: str
    place: str
    """The code to look at first when the budget is broken."""
    at_most: float | None = None
    at_least: float | None = None
    absolute: bool = False
    """A time or a rate, which depends on the machine. It can break the run only with BENCH_ABSOLUTE=1."""

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("a budget has either at_most or at_least")

    @property
    def bound(self) -> str:
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"

    def holds(self, figure: float | None) -> bool:
        """Return True if the figure is within the bound; False if it is missing or not a number."""
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
        """The message for the author of the change, if the figure is out of its bound."""
        budget = self.budget
        return f"{self.name} is {self.figure:.3g}, its bound is {budget.bound} ({budget.what}). Look at {budget.place}."


def read_budgets(file: Path = FILE) -> dict[str, Budget]:
    """Read the file: `part.figure` or `scenario.name.figure` → budget. Raises msgspec.ValidationError."""
    return msgspec.convert(dict(_leaves("", tomllib.loads(file.read_text()))), dict[str, Budget])


def _leaves(name: str, node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the innermost tables, with the dotted path of names."""
    if not isinstance(node, dict) or not any(isinstance(value, dict) for value in node.values()):
        yield name, node
        return
    for key, value in node.items():
        yield from _leaves(f"{name}.{key}" if name else key, value)


def of_parts(budgets: Mapping[str, Budget], parts: Sequence[str]) -> dict[str, Budget]:
    """Return the budgets of `parts`. The part `scenario` includes all scenarios, `scenario.burst` is one of them."""
    within = tuple(f"{part}." for part in parts)
    return {name: budget for name, budget in budgets.items() if name.startswith(within)}


def judge(budgets: Mapping[str, Budget], figures: Mapping[str, float], absolute: bool) -> list[Verdict]:
    """Return one verdict for each budget, in their order. `absolute` decides whether absolute figures gate."""
    return [
        Verdict(name, figures.get(name), budget, _outcome(budget, figures.get(name), absolute))
        for name, budget in budgets.items()
    ]


def _outcome(budget: Budget, figure: float | None, absolute: bool) -> Outcome:
    if budget.absolute and not absolute:
        return "not gated"
    if figure is None:
        return "NOT MEASURED"
    return "ok" if budget.holds(figure) else "BROKEN"


def broken(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return what fails the run: figures out of their bounds, and missing ones."""
    return [verdict for verdict in verdicts if verdict.outcome in ("BROKEN", "NOT MEASURED")]


def report(verdicts: Sequence[Verdict], failed: Mapping[str, str]) -> str:
    """Return a table, a line for each part that failed and each budget that does not hold, and the last line for CI.

    `failed` has the reason of each part that could not be measured.
    """
    rows = [[verdict.name, *_cells(verdict), verdict.outcome] for verdict in verdicts]
    passed = sum(verdict.outcome == "ok" for verdict in verdicts)
    return "\n".join(
        [
            table(["budget", "figure", "bound", "verdict"], rows),
            *(f"{part} could not be measured: {reason}" for part, reason in failed.items()),
            *(_line(verdict, failed) for verdict in broken(verdicts)),
            f"budgets: {passed} passed, {len(broken(verdicts))} failed",
        ]
    )


def _cells(verdict: Verdict) -> tuple[str, str]:
    return "-" if verdict.figure is None else f"{verdict.figure:.3g}", verdict.budget.bound


def _line(verdict: Verdict, failed: Mapping[str, str]) -> str:
    if verdict.figure is not None:
        return f"budget broken: {verdict.explanation}"
    known = any(verdict.name.startswith(f"{part}.") for part in failed)
    reason = "the reason is above" if known else "its part ran, but has no such figure"
    return f"not measured: {verdict.name}; {reason}. This says nothing about the code: run it again."

"""The table of planned operations and alerts, for the end of the run and for the documents."""

from collections.abc import Sequence

from tests.observability import alerts
from tests.quiet.noise import SLOWNESS
from tests.quiet.watch import State


class Report:
    def __init__(self) -> None:
        self._states: dict[str, set[State]] = {}

    def add(self, operation: str, states: set[State]) -> None:
        self._states[operation] = states

    def lines(self) -> list[str]:
        """Return a Markdown table with a row for each alert that was pending or firing, and one for all others."""
        operations = list(self._states)
        seen = sorted({name for states in self._states.values() for name, _ in states})
        others = len(alerts()) - len(seen)
        rows = [[name, *(self._cell(operation, name) for operation in operations)] for name in seen]
        rows.append([f"{others} other alerts", *("-" for _ in operations)])
        head = ["alert", *operations]
        return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]

    def _cell(self, operation: str, alert: str) -> str:
        states = {state for name, state in self._states[operation] if name == alert}
        if states and alert in SLOWNESS:
            return "slow machine"
        return "**firing**" if "firing" in states else "pending" if states else "-"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

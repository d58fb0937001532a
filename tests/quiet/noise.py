"""Lines above INFO that a planned operation may log, and why. Any other one is a finding."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.quiet.watch import State

Line = tuple[str, str]
"""A logger and its message."""

CAUSES: Mapping[str, Mapping[Line, str]] = {}
"""Operation → line → cause. An operation that is not listed logs nothing above INFO."""
PENDING: Mapping[str, Mapping[str, str]] = {}
"""Operation → alert that may be pending meanwhile → cause. No alert may fire."""
SLOWNESS = {
    *("CallEventsLoopLag", "CallEventsCommitSlow", "CallEventsQueueFilling"),
    *(f"CallEvents{kind}{speed}" for kind in ("Slow", "Stale") for speed in ("Fast", "Steady", "Creeping")),
}
"""Alerts that may be pending on a busy machine, during any operation."""
CALM = {"DEBUG", "INFO"}


def unexpected(operation: str, states: Iterable[State]) -> list[State]:
    """Return the alerts that fire, and those that are pending without a cause."""
    allowed = {(alert, "pending") for alert in {*SLOWNESS, *PENDING.get(operation, {})}}
    return sorted(set(states) - allowed)


def without_cause(operation: str, lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the lines above INFO that this operation has no cause for."""
    causes = CAUSES.get(operation, {})
    loud = [line for line in lines if str(line.get("level", "")).upper() not in CALM]
    return [line for line in loud if (line.get("logger", ""), line.get("message", "")) not in causes]

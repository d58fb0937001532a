"""Log lines above INFO and pending alerts that a planned operation may cause, and why. All others are findings."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tests.quiet.watch import State

Line = tuple[str, str]
"""A logger, and the begin of its message."""

CALM = {"DEBUG", "INFO"}
BUSY_LINES: Mapping[Line, str] = {
    (
        "ingest.outage",
        "MySQL commit failed",
    ): "A commit on a busy machine may take longer than INGEST_SPOOL_AFTER_SECONDS.",
    ("ingest.outage", "MySQL commit works again"): "The end of the line before.",
}
"""Lines of a busy machine, during any operation."""
MORE_WORKERS = "Configured number of workers appears to be higher than the amount of CPU cores available."
LINES: Mapping[str, Mapping[Line, str]] = {
    "scaling 1 → 4 → 2": {("_granian", MORE_WORKERS): "Granian's advice, if the machine has fewer than four cores."},
}
"""Operation → line → cause. An operation that is not listed logs nothing above INFO."""
SLOWNESS = {
    *("CallEventsLoopLag", "CallEventsCommitSlow", "CallEventsQueueFilling"),
    *(f"CallEvents{kind}{speed}" for kind in ("Slow", "Stale") for speed in ("Fast", "Steady", "Creeping")),
}
"""Alerts of a slow machine. `tests/alerts/test_silent.py` requires their silence, in a run of its own."""
BUSY_PENDING: Mapping[str, str] = {
    "CallEventsDown": "A scrape of a busy machine may take too long.",
    "CallEventsSpoolUsed": "After a slow commit the drainer moves the batch within seconds.",
    "CallEventsCommitsRefused": "A slow commit counts as refused until the next one.",
}
STARTS = {"CallEventsWorkersMissing": "The workers of a service start one after the other."}
PENDING: Mapping[str, Mapping[str, str]] = {
    **dict.fromkeys(("start", "scaling 1 → 4 → 2", "second node", "rolling restart", "new version"), STARTS),
    "MySQL failover": {
        "CallEventsDatabaseAway": "No server takes writes until the replica is promoted.",
        "CallEventsBacklogUnknown": "The backlog is read a moment after the database is back.",
    },
}
"""Operation → alert that may be pending meanwhile → cause. No alert may fire."""


def unexpected(operation: str, states: Iterable[State]) -> list[str]:
    """Return the alerts that fire, and those that are pending without a cause."""
    may_be_pending = {*BUSY_PENDING, *PENDING.get(operation, {})}
    judged = ((alert, state) for alert, state in states if alert not in SLOWNESS)
    return sorted(f"{alert} was {state}" for alert, state in judged if state == "firing" or alert not in may_be_pending)


def without_cause(operation: str, lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the lines above INFO that this operation has no cause for, each with its number."""
    causes = {*BUSY_LINES, *LINES.get(operation, {})}
    loud = [line for line in lines if str(line.get("level", "")).upper() not in CALM]
    found = [line for line in loud if not any(_is(line, cause) for cause in causes)]
    counts = Counter(" ".join(str(line.get(name, "")) for name in ("level", "logger", "message")) for line in found)
    return [f"{count} x {line}" for line, count in counts.items()]


def _is(line: Mapping[str, Any], cause: Line) -> bool:
    logger, message = cause
    return line.get("logger") == logger and str(line.get("message", "")).startswith(message)

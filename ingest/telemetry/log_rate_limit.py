"""Rate-limits repeated log lines. The next line logged says how many were suppressed."""

import logging
import time
from collections.abc import Hashable
from threading import Lock

from ingest.clock import Monotonic

LINES_MAX = 10
"""Lines of one kind that are logged in a window."""
WINDOW_SECONDS = 10.0
UNLIMITED = "ingest.audit"
"""The logger whose lines are all logged. People cause its lines one by one."""
KINDS_MAX = 1000
"""The filter remembers at most this many kinds. Beyond, it forgets all of them and starts again."""


class RepeatLimit:
    """Counts the lines of each kind."""

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = Lock()
        self._seen: dict[Hashable, tuple[float, int]] = {}
        """For each kind, when its window began and how many lines it has had since."""

    def left_out(self, kind: Hashable) -> int | None:
        """Return the number of suppressed lines that this line must report, or None if it is suppressed itself."""
        now = self._monotonic()
        with self._lock:
            began, lines = self._seen.get(kind, (now, 0))
            left_out = 0
            if now - began >= WINDOW_SECONDS:
                left_out = max(0, lines - LINES_MAX)
                began, lines = now, 0
            if len(self._seen) >= KINDS_MAX:
                self._seen.clear()
            self._seen[kind] = (began, lines + 1)
        return left_out if lines < LINES_MAX else None


class RepeatFilter(logging.Filter):
    """A line's kind is its logger, level, message template and refusal code; its arguments do not matter.

    The first line of the next window has `left_out`: the number of lines of its kind that this process suppressed.
    """

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        super().__init__()
        self._limit = RepeatLimit(monotonic)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == UNLIMITED:
            return True
        left_out = self._limit.left_out((record.name, record.levelno, record.msg, record.__dict__.get("code")))
        if left_out:
            record.left_out = left_out
        return left_out is not None

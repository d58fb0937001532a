"""Keeps what repeats from filling the log: a line too often said is left out, and the next one tells how many were."""

import logging
import time
from collections.abc import Hashable
from threading import Lock

from ingest.clock import Monotonic

LINES_MAX = 10
"""Of a kind in a window."""
WINDOW_SECONDS = 10.0
KINDS_MAX = 1000
"""Kinds that are remembered; past it all of them are forgotten, and begin anew."""


class RepeatFilter(logging.Filter):
    """A kind is what is said, not of what: logger, level, the message's template, and a refusal's code.

    The first line of the next window has `left_out`: how many of its kind this process has not written.
    """

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._lock = Lock()
        self._seen: dict[Hashable, tuple[float, int]] = {}
        """When a kind's window began, and how many lines have come in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, record.levelno, record.msg, record.__dict__.get("code"))
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
        if left_out:
            record.left_out = left_out
        return lines < LINES_MAX

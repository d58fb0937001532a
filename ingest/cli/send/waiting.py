"""How a command waits that runs until it is stopped: signals end a wait, and an outage is told once."""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

SLICE_SECONDS = 0.2
"""A signal ends a pause within this time."""
PAUSE_SECONDS_MIN = 0.5
PAUSE_SECONDS_MAX = 30.0
"""The pauses between attempts grow from the first to the second, by doubling."""
ASKED_SECONDS_MAX = 300.0
"""The longest pause that a service may ask for."""

Say = Callable[[str], None]
"""Tells the user one line."""


class Waiting(Protocol):
    """A way to wait, which the user can end."""

    @property
    def is_stopped(self) -> bool: ...

    def pause(self, seconds: float) -> None:
        """Wait; return early if the user asks to stop."""


class UntilSignal:
    """Waits that SIGTERM and SIGINT end. A second signal ends the process at once, as it has no handler."""

    def __init__(self) -> None:
        self._is_stopped = False

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    def listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._is_stopped and (left := until - time.monotonic()) > 0:
            time.sleep(min(SLICE_SECONDS, left))

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._is_stopped = True
        signal.signal(number, signal.SIG_DFL)


class Contact:
    """Tells the begin and the end of an outage of the service, and makes the pauses grow meanwhile."""

    def __init__(self, url: str, say: Say) -> None:
        self._url = url
        self._say = say
        self._failures = 0

    def lose(self, reason: str, asked_seconds: float = 0.0) -> float:
        """Note a failed attempt. Return the seconds until the next one."""
        if not self._failures:
            self._say(f"{self._url}: {reason}. Nothing is lost: the command waits, and tries again until it succeeds.")
        pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return max(pause, min(asked_seconds, ASKED_SECONDS_MAX))

    def restore(self) -> None:
        """Note an attempt that succeeded."""
        if self._failures:
            self._say(f"The service takes events again, after {self._failures} failed attempts.")
        self._failures = 0

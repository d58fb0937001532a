"""Kills a worker that does not start, so that another one starts in its place.

The watchdog does not see such a worker: it watches the workers that have begun to beat.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from ingest.clock import Monotonic
from ingest.server.watchdog import STALL_SECONDS, has_started

log = logging.getLogger("ingest.watchdog")


class StartWatch:
    """A worker has started if its beats say so (`ingest.server.watchdog`). `monotonic` is the clock of the births."""

    def __init__(
        self,
        beats: Path,
        births: Callable[[], Mapping[int, float]],
        limit_seconds: float,
        kill: Callable[[int], None],
        monotonic: Monotonic,
    ) -> None:
        """`births` returns the live workers: process id → the time at which it was started."""
        self._beats = beats
        self._births = births
        self._limit_seconds = limit_seconds
        self._kill = kill
        self._monotonic = monotonic
        self._looked = self._fair_from = monotonic()
        self._started: Mapping[int, float] = {}
        """Workers that have started, with their births. The file of a worker may be deleted later."""

    def check(self) -> None:
        """Kill each worker that was started longer ago than the limit, and has not started to work."""
        now = self._monotonic()
        if now - self._looked > STALL_SECONDS:
            self._fair_from = now  # this watch, or the whole machine, was suspended, and so may be the workers
        self._looked = now
        births = self._births()
        self._started = {
            pid: birth
            for pid, birth in births.items()
            if self._started.get(pid) == birth or has_started(self._beats, pid)
        }
        for pid in births.keys() - self._started.keys():
            if now - max(births[pid], self._fair_from) > self._limit_seconds:
                self._end(pid)

    def _end(self, pid: int) -> None:
        log.error(
            "a worker did not start within the limit; it is killed, and another one starts",
            extra={"worker": pid, "limit_seconds": self._limit_seconds},
        )
        self._kill(pid)

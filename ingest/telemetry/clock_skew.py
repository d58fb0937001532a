"""Compares this host's clock with the database's. The order and the age of events depend on the hosts' clocks."""

import logging
from collections.abc import Callable

log = logging.getLogger("ingest.clocks")

APART_SECONDS_MAX = 1.0
"""NTP keeps hosts within some milliseconds. The next event of a call comes within about a second."""


class ClockWatch:
    """`show` receives the least possible difference in seconds at each look."""

    def __init__(self, show: Callable[[float], object] = lambda _: None) -> None:
        self.show = show
        self._problem: str | None = None

    def problem(self) -> str | None:
        return self._problem

    def look(self, before_us: int, database_us: int, after_us: int) -> None:
        """Compare the database's time with this host's time before the query and after it.

        The difference excludes the time that the query may have taken.
        """
        ahead_us = max(0, before_us - database_us) or min(0, after_us - database_us)
        self.show(abs(ahead_us) / 1e6)
        apart = abs(ahead_us) > APART_SECONDS_MAX * 1e6
        if apart:
            way = "ahead of" if ahead_us > 0 else "behind"
            logged = self._problem is not None
            self._problem = f"this host's clock is {abs(ahead_us) / 1e6:.1f} s {way} the database's: set both by NTP"
            if not logged:
                log.warning("the clocks differ", extra={"reason": self._problem})
        elif self._problem:
            self._problem = None
            log.info("the clocks agree again")

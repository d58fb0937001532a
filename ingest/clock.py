"""The clocks of the service, so that tests inject their own; and how far two of them may be apart."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ingest.errors import StoreError

NowUs = Callable[[], int]
"""Unix time in microseconds."""

Monotonic = Callable[[], float]
"""Seconds that never go back; for deadlines and durations."""

CLOCKS_APART_SECONDS_MAX = 60.0
"""Nothing is removed by its age while this host's clock and the database's differ by more: one of them is wrong."""


def jittered(seconds: float) -> float:
    """Half to all of it, at random, so that workers and nodes do not all do something at once."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def unix_us() -> int:
    return time.time_ns() // 1000


def check_clocks(before_us: int, database_us: int, after_us: int) -> None:
    """The database's time, and this host's before and after the question. Raises `StoreError`."""
    apart_us = max(before_us - database_us, database_us - after_us)
    if apart_us > CLOCKS_APART_SECONDS_MAX * 1e6:
        raise StoreError(
            f"This host's clock says {time_text(after_us)}, the database's {time_text(database_us)}: more than "
            f"{CLOCKS_APART_SECONDS_MAX:g} s apart. Nothing was changed: set both by NTP, then try again."
        )


def time_text(us: int) -> str:
    """Unix microseconds for people: UTC, to the second."""
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

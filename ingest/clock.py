"""The service's clocks, which tests replace, and the permitted difference to the database's clock."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ingest.errors import StoreError

NowUs = Callable[[], int]
"""Unix time in microseconds."""

Monotonic = Callable[[], float]
"""Seconds that never go back, for deadlines and durations."""

CLOCKS_APART_SECONDS_MAX = 60.0
"""Beyond this difference to the database's clock the service removes nothing by age: one of the clocks is wrong."""


def jittered(seconds: float) -> float:
    """Return a random time from half of it to all of it, so that workers and nodes do not act all at once."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def unix_us() -> int:
    return time.time_ns() // 1000


def check_clocks(before_us: int, database_us: int, after_us: int) -> None:
    """Compare the database's time with this host's before and after the query. Raises `StoreError` if they differ."""
    apart_us = max(before_us - database_us, database_us - after_us)
    if apart_us > CLOCKS_APART_SECONDS_MAX * 1e6:
        raise StoreError(
            f"This host's clock says {time_text(after_us)}, the database's {time_text(database_us)}: more than "
            f"{CLOCKS_APART_SECONDS_MAX:g} s apart. Nothing was changed: set both by NTP, then try again."
        )


def time_text(us: int) -> str:
    """Format Unix microseconds for people: UTC, to the second."""
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

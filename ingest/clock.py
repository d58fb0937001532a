"""The clocks of the service, so that tests inject their own."""

import random
import time
from collections.abc import Callable

NowUs = Callable[[], int]
"""Unix time in microseconds."""

Monotonic = Callable[[], float]
"""Seconds that never go back; for deadlines and durations."""


def jittered(seconds: float) -> float:
    """Half to all of it, at random, so that workers and nodes do not all do something at once."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def unix_us() -> int:
    return time.time_ns() // 1000

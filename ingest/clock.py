"""The clocks of the service, so that tests inject their own."""

import time
from collections.abc import Callable

NowUs = Callable[[], int]
"""Unix time in microseconds."""

Monotonic = Callable[[], float]
"""Seconds that never go back; for deadlines and durations."""


def unix_us() -> int:
    return time.time_ns() // 1000

"""The ticks of a worker: its background tasks wake up together, as each wake-up of an idle worker costs CPU time.

A bare wake-up of uvloop takes 30 to 75 µs, and the tasks find each other's code and data in the CPU's caches.
"""

import asyncio
import math
import os

TICKS_PER_SECOND = 2
EARLY_TICKS = 0.01
"""A timer may end this early."""
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
"""Its multiples, without their whole parts, are far apart."""


async def pause(seconds: float) -> None:
    """Sleep until the worker's last tick within this time. A time shorter than a tick is slept exactly."""
    await asyncio.sleep(to_tick(seconds))


def to_tick(seconds: float) -> float:
    """Return the time of a `pause`."""
    return seconds_to_tick(asyncio.get_running_loop().time(), seconds, os.getpid())


def seconds_to_tick(now: float, seconds: float, process_id: int) -> float:
    """Return the time until the last tick within these seconds. The processes of a machine tick at different times."""
    if seconds * TICKS_PER_SECOND < 1:
        return seconds
    shift = process_id * GOLDEN_RATIO % 1
    last = math.floor((now + seconds) * TICKS_PER_SECOND - shift + EARLY_TICKS)
    return (last + shift) / TICKS_PER_SECOND - now

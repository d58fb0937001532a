"""Deadlines that count while this process runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LATE_SECONDS = 0.5
"""A loop that comes so much later than a deadline stood still."""


@asynccontextmanager
async def deadline(seconds: float | None, unless: Callable[[], bool] = lambda: False) -> AsyncIterator[None]:
    """As `asyncio.timeout`, but who stood still (SIGSTOP, a frozen machine) as it passed is given as much time again.

    The other side is not to blame: its answer may have come long ago, and is not read yet. As much time again is also
    given each time as it passes, and `unless()` holds. None: there is no deadline. Raises `TimeoutError`.
    """
    async with asyncio.timeout(None) as timeout:
        timer = None if seconds is None else _Timer(seconds, timeout, unless)
        try:
            yield
        finally:
            if timer:
                timer.cancel()


class _Timer:
    def __init__(self, seconds: float, timeout: asyncio.Timeout, unless: Callable[[], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._timeout = timeout
        self._unless = unless
        self._start()

    def cancel(self) -> None:
        self._handle.cancel()

    def _start(self) -> None:
        due = self._loop.time() + self._seconds
        self._handle = self._loop.call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        now = self._loop.time()
        if now - due > LATE_SECONDS or self._unless():
            self._start()
        else:
            self._timeout.reschedule(now)

"""Deadlines that only count time during which this process runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LATE_SECONDS = 0.5
"""If the event loop is this late for a deadline, the process was suspended."""


@asynccontextmanager
async def deadline(seconds: float | None, unless: Callable[[], bool] = lambda: False) -> AsyncIterator[None]:
    """Like `asyncio.timeout`, but restarts if this process was suspended (SIGSTOP, a frozen machine) when it expired.

    The other side is not to blame: its answer may have arrived, and only waits to be read. The deadline also restarts
    if `unless()` is true when it expires. With `seconds` None there is no deadline. Raises `TimeoutError`.
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

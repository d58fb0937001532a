"""Callers at the same time share one call of an expensive function, and its result stays for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ingest.clock import Monotonic

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """`result` never runs `make` twice at once. A result, or an exception, stays for `keep_seconds`."""

    def __init__(self, make: Callable[[], Awaitable[T]], keep_seconds: float, monotonic: Monotonic) -> None:
        self._make = make
        self._keep_seconds = keep_seconds
        self._monotonic = monotonic
        self._flight: asyncio.Task[T] | None = None
        self._landed_at = 0.0

    async def result(self) -> T:
        """A cancelled caller does not end the call, because the next caller would start a second one beside it."""
        if self._flight is None or (self._flight.done() and self._monotonic() >= self._landed_at + self._keep_seconds):
            self._flight = asyncio.create_task(self._fly())
        return await asyncio.shield(self._flight)

    async def _fly(self) -> T:
        try:
            return await self._make()
        finally:
            self._landed_at = self._monotonic()

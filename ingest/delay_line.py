"""Delays many callbacks with few wake-ups of the event loop."""

import asyncio
from collections.abc import Callable

SLOT_SECONDS = 0.01
"""Callbacks that are due within this time are called together."""


class DelayLine:
    """A timer for each callback would wake the loop for each one, which costs more than the callback."""

    def __init__(self) -> None:
        self.count = 0
        """Callbacks that wait."""
        self._slots: dict[int, list[Callable[[], object]]] = {}

    def add(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call `callback` after this time, up to `SLOT_SECONDS` later."""
        loop = asyncio.get_running_loop()
        slot = int((loop.time() + seconds) / SLOT_SECONDS) + 1
        self.count += 1
        if waiting := self._slots.get(slot):
            waiting.append(callback)
        else:
            self._slots[slot] = [callback]
            loop.call_at(slot * SLOT_SECONDS, self._call, slot)

    def _call(self, slot: int) -> None:
        due = self._slots.pop(slot)
        self.count -= len(due)
        for callback in due:
            asyncio.get_running_loop().call_soon(callback)  # one that fails must not hold up the others

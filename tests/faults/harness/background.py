"""Clients in a thread of their own, so that a test may wait for the servers it kills."""

import asyncio
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """`with` it: `_run` goes on until the block ends, and then to its end, within `stop_seconds`."""

    def __init__(self, stop_seconds: float) -> None:
        self._stop_seconds = stop_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=type(self).__name__)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Begin nothing more, and return when what has begun is done or given up. May be called twice."""
        self._stopping.set()
        self._thread.join(self._stop_seconds)
        assert not self._thread.is_alive(), f"{self._thread.name} does not stop"

    @abstractmethod
    async def _run(self) -> None: ...

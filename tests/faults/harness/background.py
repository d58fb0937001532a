"""Work in a separate thread, so that a test may block while it kills servers."""

import asyncio
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """Runs `_run` in a thread during a `with` block. After the block `_run` must end within `stop_seconds`."""

    def __init__(self, stop_seconds: float) -> None:
        self._stop_seconds = stop_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Start no new work, and return when all running work is done or has failed. May be called twice."""
        self._stopping.set()
        self._thread.join(self._stop_seconds)
        assert not self._thread.is_alive(), f"{self._thread.name} does not stop"

    @abstractmethod
    def _run(self) -> None: ...


class AsyncBackground(Background):
    """Runs the coroutine `_run_async` in the thread."""

    def _run(self) -> None:
        asyncio.run(self._run_async())

    @abstractmethod
    async def _run_async(self) -> None: ...

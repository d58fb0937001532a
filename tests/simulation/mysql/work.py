"""Runs the work of a server on an event loop, at less cost than a task of asyncio: it cannot be awaited."""

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any


@types.coroutine
def pause(seconds: float) -> Generator[float, None, None]:
    """Sleep, in a `Work` only."""
    yield seconds


class Work:
    """A coroutine that waits for pauses and futures. Its steps are those that a task would have."""

    __slots__ = ("_awaited", "_context", "_coroutine", "_is_cancelled", "_loop", "_timer")

    def __init__(self, context: Context, begin: Callable[..., Coroutine[Any, Any, None]], argument: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._awaited: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_cancelled = False
        self._loop.call_soon(self._begin, begin, argument, context=context)

    def cancel(self) -> None:
        """Raise CancelledError where the coroutine waits, in its next step. It must not cancel itself."""
        self._is_cancelled = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            self._loop.call_soon(self._step, context=self._context)
        elif self._awaited is not None:
            self._awaited.cancel()

    def _begin(self, begin: Callable[..., Coroutine[Any, Any, None]], argument: Any) -> None:
        if not self._is_cancelled:
            self._coroutine = begin(argument)
            self._step()

    def _step(self, _: object = None) -> None:
        coroutine = self._coroutine
        assert coroutine is not None
        self._timer = self._awaited = None
        try:
            if self._is_cancelled:
                self._is_cancelled = False
                awaited = coroutine.throw(asyncio.CancelledError())
            else:
                awaited = coroutine.send(None)
        except (StopIteration, asyncio.CancelledError):
            return
        if type(awaited) is float:
            self._timer = self._loop.call_later(awaited, self._step, context=self._context)
        else:
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(self._step, context=self._context)
            self._awaited = awaited

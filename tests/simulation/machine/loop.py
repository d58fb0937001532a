"""An event loop with virtual time. A seed decides which process of the simulated world runs next.

Each callback belongs to a process, which its context names. Callbacks of one process run in their order, as in any
event loop. Between processes there is no order. Nothing waits for real time: if no callback is ready, the clock jumps
to the next timer.
"""

import asyncio
import heapq
from asyncio import base_events, events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from tests.simulation.chance import Chance

T = TypeVar("T")

STEP_SECONDS = 10e-6
"""A callback takes this much virtual time, so that no loop without a pause stops the clock."""
STEPS_MAX = 300_000
"""Many times the steps of the longest schedule. Beyond it, callbacks call each other for ever."""
THREAD_SECONDS = 0.004
"""Work in a thread begins and ends within this time."""


class Process:
    """A process of the simulated world, or the world itself. Callbacks of a dead process never run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        """As after SIGSTOP: its callbacks wait."""
        self.ready: deque[events.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self.slow_seconds = 0.0
        """Work in its threads takes up to this much longer."""


class Killed(BaseException):
    """The process is dead: it makes no further system call. Unwinds the product's code."""


class Stuck(Exception):
    """Nothing can run any more, although something waits."""


current: ContextVar[Process] = ContextVar("process")


class SimulatedLoop(base_events.BaseEventLoop):
    """All processes of one world share the loop."""

    def __init__(self, chance: Chance) -> None:
        super().__init__()
        self._chance = chance
        self._now = 0.0
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._timer_number = 0
        self._runnable: list[Process] = []
        """Processes with ready callbacks."""
        self._thread_free: dict[Any, float] = {}
        """When the last work of each executor ends."""
        self._world = copy_context()
        self.reach: Callable[..., Any] = _unreachable
        """Connects to a server of the world."""
        self.steps = 0
        self.after_step: Callable[[], None] = lambda: None
        self.problems: list[str] = []
        """Errors that no task has received."""
        self.set_task_factory(_owned_task)
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> events.Handle:  # type: ignore[override]
        handle = events.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> events.TimerHandle:  # type: ignore[override]
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> events.TimerHandle:  # type: ignore[override]
        timer = events.TimerHandle(when, callback, args, self, context)
        self._timer_number += 1
        heapq.heappush(self._timers, (when, self._timer_number, timer))
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        """Cancelled timers are dropped when they are due."""

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        """Run the work inline, at a moment that the seed chooses. An executor's works keep their order."""
        future: asyncio.Future[T] = self.create_future()
        process = current.get()
        begins = self._chance.seconds("thread begins", 0.0, THREAD_SECONDS + process.slow_seconds)
        at = self._now + begins
        if executor is not None:
            at = max(at, self._thread_free.get(executor, 0.0) + 1e-6)
            self._thread_free[executor] = at

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as exc:
                self.call_soon(_fail, future, exc)
            else:
                self.call_soon(_succeed, future, result)

        self.call_at(at, work)
        return future

    def in_process(self, process: Process, work: Coroutine[Any, Any, T], name: str = "") -> "asyncio.Task[T]":
        """Start a task of this process."""
        token = current.set(process)
        try:
            return self.create_task(work, name=name)
        finally:
            current.reset(token)

    def resume(self, process: Process) -> None:
        process.stopped = False
        if process.ready and process not in self._runnable:
            self._runnable.append(process)

    def in_world(self, work: Callable[[], T]) -> T:
        """Do this work as the world itself, not as the process that runs now."""
        return self._world.run(work)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        return await self.reach(protocol_factory, host, port)

    def _enqueue(self, handle: events.Handle) -> None:
        process = handle._context.get(current)  # type: ignore[attr-defined]
        if not process.alive:
            return
        ready = process.ready
        if not ready and not process.stopped:
            self._runnable.append(process)
        ready.append(handle)

    def _run_once(self) -> None:
        timers = self._timers
        if not self._runnable:
            while timers and timers[0][2]._cancelled:
                heapq.heappop(timers)
            if not timers:
                raise Stuck("Nothing can ever run again.")
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                self._enqueue(timer)
        if self._runnable:
            self._run_one()

    def _run_one(self) -> None:
        runnable = self._runnable
        at = self._chance.pick("next process", len(runnable)) if len(runnable) > 1 else 0
        process = runnable[at]
        if process.stopped or not process.ready or not process.alive:
            del runnable[at]
            return
        handle = process.ready.popleft()
        if not process.ready:
            del runnable[at]
        self._now += STEP_SECONDS
        if handle._cancelled:
            return
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Stuck(f"The schedule has not ended after {STEPS_MAX} steps.")
        handle._run()
        self.after_step()

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), Killed):
            self.problems.append(f"{context['message']}: {context.get('exception')!r}")

    def _process_events(self, _events: Any) -> None: ...

    def _write_to_self(self) -> None: ...


async def _unreachable(*_: Any) -> Any:
    raise ConnectionRefusedError


def _owned_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
    """A process keeps its tasks, so that a killed process runs no `finally` block before the world ends."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    tasks = current.get().tasks
    tasks.append(task)
    if len(tasks) % 256 == 0:
        tasks[:] = [one for one in tasks if not one.done()]
    return task


def _succeed(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)

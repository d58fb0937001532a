"""An event loop with virtual time. A seed decides which process of the simulated world runs next.

Each callback belongs to a process, which its context names. Callbacks of one process run in their order, as in any
event loop. Between processes there is no order. Nothing waits for real time: if no callback is ready, the clock jumps
to the next timer.
"""

import asyncio
import heapq
from asyncio import base_events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

from tests.simulation.chance import Chance

T = TypeVar("T")

STEP_SECONDS = 10e-6
"""A callback takes this much virtual time, so that no loop without a pause stops the clock."""
STEPS_MAX = 300_000
"""Many times the steps of the longest schedule. Beyond it, callbacks call each other for ever."""
STEPS_BETWEEN_LOOKS = 32
END_OF_SLEEP: Callable[..., None] = asyncio.futures._set_result_unless_cancelled  # type: ignore[attr-defined]
THREAD_SECONDS = 0.004
"""Work in a thread begins and ends within this time."""


class Step:
    """A callback that is to run, soon or at a time. It has what asyncio needs of a handle, and takes half the time."""

    __slots__ = ("_when", "arguments", "callback", "cancelled_", "context")

    def __init__(self, callback: Any, arguments: tuple[Any, ...], context: Context | None, when: float = 0.0) -> None:
        self.callback = callback
        self.arguments = arguments
        self.context = context or copy_context()
        self._when = when
        self.cancelled_ = False

    def cancel(self) -> None:
        self.cancelled_ = True

    def cancelled(self) -> bool:
        return self.cancelled_

    def when(self) -> float:
        return self._when


class Process:
    """A process of the simulated world, or the world itself. Callbacks of a dead process never run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        """As after SIGSTOP: its callbacks wait."""
        self.ready: deque[Step] = deque()
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

    _stopping: bool

    def __init__(self, chance: Chance) -> None:
        super().__init__()
        self._chance = chance
        self._now = 0.0
        self._timers: list[tuple[float, int, Step]] = []
        self._timer_number = 0
        self._runnable: list[Process] = []
        """Processes with ready callbacks."""
        self._thread_free: dict[Any, float] = {}
        """When the last work of each executor ends."""
        self._world = copy_context()
        self.reach: Callable[..., Any] = _unreachable
        """Connects to a server of the world."""
        self.steps = 0
        self.look: Callable[[], None] = lambda: None
        """Checks the world. Called between steps."""
        self.look_at = STEPS_BETWEEN_LOOKS
        """The number of the step before which the world looks next."""
        self.problems: list[str] = []
        """Errors that no task has received."""
        self.set_task_factory(_owned_task)
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Step:  # type: ignore[override]
        step = Step(callback, args, context)
        self._enqueue(step)
        return step

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Step:  # type: ignore[override]
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Step:  # type: ignore[override]
        """Cancelled timers are dropped when they are due."""
        timer = Step(callback, args, context, when)
        self._timer_number += 1
        heapq.heappush(self._timers, (when, self._timer_number, timer))
        return timer

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
                if not future.done():
                    future.set_exception(exc)
            else:
                if not future.done():
                    future.set_result(result)

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

    def _enqueue(self, step: Step) -> None:
        process = step.context[current]
        if not process.alive:
            return
        ready = process.ready
        if not ready and not process.stopped:
            self._runnable.append(process)
        ready.append(step)

    def _run_once(self) -> None:
        """Run steps until somebody stops the loop."""
        timers, runnable, pick = self._timers, self._runnable, self._chance.pick
        while not self._stopping:
            if not runnable:
                self._go_to_next_timer()
            while timers and timers[0][0] <= self._now:
                self._ring(heapq.heappop(timers)[2])
            if not runnable:
                continue
            at = pick("next process", len(runnable)) if len(runnable) > 1 else 0
            process = runnable[at]
            ready = process.ready
            if process.stopped or not ready or not process.alive:
                del runnable[at]
                continue
            step = ready.popleft()
            if not ready:
                del runnable[at]
            self._now += STEP_SECONDS
            if not step.cancelled_:
                self._run(step)

    def _go_to_next_timer(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled_:
            heapq.heappop(timers)
        if not timers:
            raise Stuck("Nothing can ever run again.")
        self._now = max(self._now, timers[0][0])

    def _ring(self, timer: Step) -> None:
        if timer.cancelled_:
            return
        if timer.callback is END_OF_SLEEP:  # it only makes its task ready, which is no step
            END_OF_SLEEP(*timer.arguments)
        else:
            self._enqueue(timer)

    def _run(self, step: Step) -> None:
        self.steps += 1
        if self.steps == self.look_at:
            self._look()
        try:
            step.context.run(step.callback, *step.arguments)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.call_exception_handler({"message": "A callback failed", "exception": exc})

    def _look(self) -> None:
        if self.steps > STEPS_MAX:
            raise Stuck(f"The schedule has not ended after {STEPS_MAX} steps.")
        self.look_at = self.steps + STEPS_BETWEEN_LOOKS
        self.look()

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

"""Background tasks: supervised, referenced until they end, and reliably ended."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import Any, TypeAlias, TypeVar

import msgspec

from ingest.clock import Monotonic, jittered

log = logging.getLogger("ingest.tasks")

T = TypeVar("T")
Task: TypeAlias = "asyncio.Task[None]"

INSIST_SECONDS = 0.5
TRIES_MAX = 10
PAUSE_SECONDS = 0.5
"""First pause before a failed task starts again. The pause doubles with each failure."""
PAUSE_SECONDS_MAX = 30.0
STEADY_SECONDS = 60.0
"""A task that ran for this time before it failed starts again after the first pause."""

BackgroundTask = Callable[[], Coroutine[Any, Any, None]]


def supervise(run: BackgroundTask, name: str, count: Callable[[], None], pause_seconds: float = PAUSE_SECONDS) -> Task:
    """Start `run` as a task. It restarts after every exception. A cancellation or a return ends it.

    `count` is called for each failure. `pause_seconds`: see `PAUSE_SECONDS`.
    """
    return asyncio.create_task(_supervised(run, name, count, pause_seconds), name=name)


async def _supervised(run: BackgroundTask, name: str, count: Callable[[], None], pause_seconds: float) -> None:
    clock = asyncio.get_running_loop().time
    pause = pause_seconds
    while True:
        started = clock()
        try:
            return await run()
        except (Exception, asyncio.CancelledError) as exc:
            raise_if_cancelled(exc)
            if clock() - started >= STEADY_SECONDS:
                pause = pause_seconds
            log.exception("a background task failed; it starts again", extra={"task": name, "pause_seconds": pause})
            count()
        await asyncio.sleep(jittered(pause))
        pause = min(2 * pause, PAUSE_SECONDS_MAX)


class Repetitions:
    """Work that a process without an event loop repeats, each at its interval, whenever the process calls `run`."""

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._works: list[_Repeated] = []

    def add(self, work: Callable[[], None], seconds: float, name: str, count: Callable[[], None]) -> None:
        """Repeat `work`, the first time after this interval. `count` is called for each exception of `work`."""
        self._works.append(_Repeated(work, seconds, name, count, self._monotonic() + seconds))

    def run(self) -> None:
        """Do the work that is due. Never raises: a watch that ends would blind the service unheard."""
        for repeated in self._works:
            now = self._monotonic()
            if now < repeated.due:
                continue
            repeated.due = now + repeated.seconds
            try:
                repeated.work()
            except Exception:
                extra = {"task": repeated.name, "pause_seconds": repeated.seconds}
                log.exception("a background task failed; it starts again", extra=extra)
                repeated.count()


class _Repeated(msgspec.Struct):
    work: Callable[[], None]
    seconds: float
    name: str
    count: Callable[[], None]
    due: float


def raise_if_cancelled(exc: BaseException) -> None:
    """Re-raise a cancellation of this task. Drivers also cancel their own futures when a connection breaks."""
    task = asyncio.current_task()
    if isinstance(exc, asyncio.CancelledError) and task and task.cancelling():
        raise exc


async def end(tasks: Iterable["asyncio.Task[Any]"], insist_seconds: float = INSIST_SECONDS) -> None:
    """Cancel the tasks in their order, and wait until they end.

    The drivers use `asyncio.wait_for`, which can lose a cancellation in Python 3.11. So the cancellation is repeated.
    After `TRIES_MAX` tries, log the tasks that still run, and return.
    """
    left: Collection[asyncio.Task[Any]] = [*tasks]
    for _ in range(TRIES_MAX):
        for task in left:
            task.cancel()
        if not left:
            return
        _, left = await asyncio.wait(left, timeout=insist_seconds)
    if left:
        log.error("tasks do not end", extra={"tasks": sorted(task.get_name() for task in left)})


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread. A cancellation takes effect only after `work` has ended, so `work` never writes later."""
    return await to_its_end(asyncio.to_thread(work))


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, which must end by itself. A cancellation takes effect only after that."""
    running = asyncio.ensure_future(work)
    cancelled = False
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        running.exception()  # retrieved, because no caller is left to receive it
        raise asyncio.CancelledError
    return running.result()


async def all_of(works: Iterable[Awaitable[T]]) -> list[T]:
    """Await them concurrently, and return their results. Raises the first error after all have ended."""
    done: list[T] = []
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
        done.append(outcome)
    return done


class Background:
    """Tasks of one owner. Keeps references to them, so that no other part has to."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], None] = {}
        """In the order of their starts."""

    def start(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    async def wait(self) -> None:
        """Wait until all tasks have ended. The caller limits the wait."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def end(self) -> None:
        await end(self._tasks)

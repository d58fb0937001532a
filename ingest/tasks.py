"""Tasks of the background: supervised, kept until they end, and ended for certain."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeAlias, TypeVar

from ingest.clock import jittered

log = logging.getLogger("ingest.tasks")

T = TypeVar("T")
Task: TypeAlias = "asyncio.Task[None]"

INSIST_SECONDS = 0.5
TRIES_MAX = 10
PAUSE_SECONDS = 0.5
"""Before a failed task starts again, at first; the pause doubles with each failure."""
PAUSE_SECONDS_MAX = 30.0
STEADY_SECONDS = 60.0
"""A task that ran for so long before it failed starts again after the first pause."""

BackgroundTask = Callable[[], Coroutine[Any, Any, None]]


def supervise(run: BackgroundTask, name: str, count: Callable[[], None], pause_seconds: float = PAUSE_SECONDS) -> Task:
    """Start `run` as a task. It starts again after every exception; a cancellation or a return ends it.

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


def raise_if_cancelled(exc: BaseException) -> None:
    """Pass a cancellation of this task on; drivers cancel futures of their own, too, when a connection breaks."""
    task = asyncio.current_task()
    if isinstance(exc, asyncio.CancelledError) and task and task.cancelling():
        raise exc


async def end(tasks: Iterable["asyncio.Task[Any]"], insist_seconds: float = INSIST_SECONDS) -> None:
    """Cancel the tasks, and return when they have ended; those that go on after `TRIES_MAX` tries are left and told.

    `asyncio.wait_for` of Python 3.11, by which the drivers wait, may lose a cancellation: so it is said again.
    """
    left = set(tasks)
    for _ in range(TRIES_MAX):
        for task in left:
            task.cancel()
        if not left:
            return
        _, left = await asyncio.wait(left, timeout=insist_seconds)
    if left:
        log.error("tasks do not end", extra={"tasks": sorted(task.get_name() for task in left)})


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread. A cancellation takes effect when `work` has ended, so `work` never writes after it."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled = False
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        running.exception()  # nobody is left to be told of it
        raise asyncio.CancelledError
    return running.result()


async def all_of(works: Iterable[Awaitable[T]]) -> list[T]:
    """Their results, done side by side. Raises the first one's error, when all have ended."""
    done: list[T] = []
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
        done.append(outcome)
    return done


class Background:
    """Tasks of one owner, who starts and ends them; nobody has to hold on to one."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait(self) -> None:
        """Until there are none; the caller bounds the wait."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def end(self) -> None:
        await end(self._tasks)

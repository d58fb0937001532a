"""Tasks of the background: kept until they end, and ended for certain."""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, TypeVar

log = logging.getLogger("ingest.tasks")

T = TypeVar("T")

INSIST_SECONDS = 0.5
TRIES_MAX = 10


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

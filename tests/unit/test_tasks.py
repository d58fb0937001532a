"""Tasks that are told to end."""

import asyncio
import logging

import pytest

from ingest import tasks


async def deaf(times: int) -> None:
    """Does not hear so many cancellations."""
    for _ in range(times):
        try:
            await asyncio.Future()
        except asyncio.CancelledError:
            continue
    await asyncio.Future()


async def started(times: int) -> "asyncio.Task[None]":
    task = asyncio.create_task(deaf(times), name=f"deaf-{times}")
    await asyncio.sleep(0)
    return task


async def test_cancellation_that_is_lost_is_said_again() -> None:
    made = [await started(times) for times in (0, 1)]

    await tasks.end(made)

    assert all(task.cancelled() for task in made)


async def test_none_is_fine() -> None:
    await tasks.end([])


async def test_task_that_never_ends_is_left_and_told(caplog: pytest.LogCaptureFixture) -> None:
    task = await started(tasks.TRIES_MAX)

    with caplog.at_level(logging.ERROR):
        await tasks.end([task], insist_seconds=0.01)

    assert [record.__dict__["tasks"] for record in caplog.records] == [[f"deaf-{tasks.TRIES_MAX}"]]
    task.cancel()
    await asyncio.wait([task])


async def test_error_of_one_comes_when_all_have_ended() -> None:
    ended: list[str] = []

    async def work(name: str, waits: int, *, fails: bool = False) -> str:
        for _ in range(waits):
            await asyncio.sleep(0)
        ended.append(name)
        if fails:
            raise OSError(name)
        return name

    with pytest.raises(OSError, match="second"):
        await tasks.all_of([work("first", 3), work("second", 1, fails=True), work("third", 5)])
    assert ended == ["second", "first", "third"]
    assert await tasks.all_of(work(name, 1) for name in "ab") == ["a", "b"]

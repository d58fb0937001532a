"""The work of a server runs, waits and is cancelled as a task is."""

import asyncio
from contextvars import copy_context

import pytest

from tests.simulation.mysql.work import Work, pause
from tests.unit.fakes import until


async def test_it_waits_for_pauses_and_futures() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    told: list[str] = []

    async def serve(first: str) -> None:
        told.append(first)
        await pause(0.0)
        told.append(await future)

    Work(copy_context(), serve, "begins")
    await until(lambda: bool(told))
    future.set_result("ends")
    await until(lambda: len(told) == 2)

    assert told == ["begins", "ends"]


@pytest.mark.parametrize("waits_for_a_future", [False, True])
async def test_a_cancelled_one_unwinds_where_it_waits(waits_for_a_future: bool) -> None:
    told: list[str] = []

    async def serve(_: object) -> None:
        try:
            told.append("begins")
            await (asyncio.get_running_loop().create_future() if waits_for_a_future else pause(60.0))
        finally:
            told.append("unwinds")

    work = Work(copy_context(), serve, None)
    await until(lambda: bool(told))
    work.cancel()
    await until(lambda: len(told) == 2)

    assert told == ["begins", "unwinds"]


async def test_one_that_is_cancelled_at_once_never_begins() -> None:
    told: list[str] = []

    async def serve(_: object) -> None:
        told.append("begins")

    Work(copy_context(), serve, None).cancel()
    for _ in range(5):
        await asyncio.sleep(0)

    assert not told

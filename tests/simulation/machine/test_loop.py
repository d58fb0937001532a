"""The simulated loop: its clock, its order, its processes and its threads."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from typing import Any, TypeVar

import pytest

from tests.simulation.chance import SeededChance
from tests.simulation.machine.loop import Process, SimulatedLoop, Stuck, current

T = TypeVar("T")


@pytest.fixture
def world() -> Process:
    return Process("world")


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop(SeededChance(1))
    yield loop
    loop.close()


def complete(loop: SimulatedLoop, world: Process, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    def run() -> T:
        current.set(world)
        return loop.run_until_complete(work())

    return Context().run(run)


def test_an_hour_of_sleep_takes_no_time(loop: SimulatedLoop, world: Process) -> None:
    async def sleep() -> float:
        await asyncio.sleep(3600)
        return loop.time()

    assert 3600 <= complete(loop, world, sleep) < 3601


def test_a_wait_that_nothing_can_end_is_an_error(loop: SimulatedLoop, world: Process) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        complete(loop, world, wait)


def test_callbacks_of_a_process_keep_their_order_and_those_of_others_do_not(
    loop: SimulatedLoop, world: Process
) -> None:
    seen: list[str] = []

    async def note(name: str) -> None:
        for _ in range(20):
            seen.append(name)
            await asyncio.sleep(0)

    async def both() -> None:
        one, other = Process("one"), Process("other")
        tasks = [loop.in_process(one, note(name)) for name in "ab"] + [loop.in_process(other, note("c"))]
        await asyncio.wait(tasks)

    complete(loop, world, both)
    assert "".join(one for one in seen if one != "c") == "ab" * 20
    assert "".join(seen) != "abc" * 20


def test_a_dead_process_never_runs_again_not_even_its_finally(loop: SimulatedLoop, world: Process) -> None:
    seen: list[str] = []
    process = Process("victim")

    async def victim() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            seen.append("finally")

    async def kill() -> None:
        loop.in_process(process, victim())
        await asyncio.sleep(0.5)
        process.alive = False
        await asyncio.sleep(2)
        assert seen == []

    complete(loop, world, kill)
    for task in process.tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_stopped_process_goes_on_where_it_was(loop: SimulatedLoop, world: Process) -> None:
    seen: list[float] = []
    process = Process("stopped")

    async def tick() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append(round(loop.time()))

    async def stop() -> None:
        task = loop.in_process(process, tick())
        await asyncio.sleep(1.5)
        process.stopped = True
        await asyncio.sleep(8.5)
        assert seen == [1]
        loop.resume(process)
        await task

    complete(loop, world, stop)
    assert seen == [1, 10, 11]


def test_works_of_an_executor_keep_their_order(loop: SimulatedLoop, world: Process) -> None:
    seen: list[int] = []

    async def work() -> None:
        await asyncio.gather(*(loop.run_in_executor("disk", seen.append, number) for number in range(30)))

    complete(loop, world, work)
    assert seen == list(range(30))


def test_an_error_in_a_thread_reaches_its_caller(loop: SimulatedLoop, world: Process) -> None:
    async def work() -> None:
        await asyncio.to_thread(int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        complete(loop, world, work)

"""Tasks are supervised, and they end."""

import asyncio
import logging
import threading
from collections import deque

import pytest

from ingest import tasks
from tests.unit.fakes import FakeClock


async def deaf(times: int) -> None:
    """Ignores this many cancellations."""
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


async def test_lost_cancellation_is_repeated() -> None:
    made = [await started(times) for times in (0, 1)]

    await tasks.end(made)

    assert all(task.cancelled() for task in made)


class Failing:
    """A background task that fails with these, one at each start, and then works until it is cancelled."""

    def __init__(self, *problems: BaseException) -> None:
        self._problems = deque(problems)
        self.works = asyncio.Event()
        self.failures = 0

    def count(self) -> None:
        self.failures += 1

    async def run(self) -> None:
        if self._problems:
            raise self._problems.popleft()
        self.works.set()
        await asyncio.Future()


async def supervised(failing: Failing) -> "asyncio.Task[None]":
    task = tasks.supervise(failing.run, "a-task", failing.count, pause_seconds=0.001)
    async with asyncio.timeout(60.0):
        await failing.works.wait()
    return task


async def test_task_starts_again_whatever_ended_it(caplog: pytest.LogCaptureFixture) -> None:
    failing = Failing(OSError("disk"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), asyncio.CancelledError())

    task = await supervised(failing)

    assert not task.done()
    assert failing.failures == 3
    assert [record.__dict__["task"] for record in caplog.records] == ["a-task"] * 3
    await tasks.end([task])


async def test_cancelled_task_ends() -> None:
    failing = Failing(OSError("disk"))
    task = await supervised(failing)

    await tasks.end([task])

    assert task.cancelled()
    assert failing.failures == 1


async def test_task_that_returns_is_not_started_again() -> None:
    async def run() -> None:
        """Nothing to do."""

    await asyncio.wait_for(tasks.supervise(run, "done", lambda: None), 60.0)


async def test_no_tasks_end_at_once() -> None:
    await tasks.end([])


async def test_task_that_never_ends_is_left_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    task = await started(tasks.TRIES_MAX)

    with caplog.at_level(logging.ERROR):
        await tasks.end([task], insist_seconds=0.01)

    assert [record.__dict__["tasks"] for record in caplog.records] == [[f"deaf-{tasks.TRIES_MAX}"]]
    task.cancel()
    await asyncio.wait([task])


async def test_error_of_one_is_raised_after_all_have_ended() -> None:
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


async def test_cancelled_task_ends_after_its_thread() -> None:
    loop = asyncio.get_running_loop()
    begun, may_end, ended = asyncio.Event(), threading.Event(), threading.Event()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait()
        ended.set()

    task = asyncio.create_task(tasks.in_thread(work))
    await begun.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_result_or_error_of_a_thread_reaches_the_caller() -> None:
    assert await tasks.in_thread(lambda: 7) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await tasks.in_thread(lambda: int("x"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_work_is_repeated_at_its_interval(clock: FakeClock) -> None:
    repetitions = tasks.Repetitions(clock.monotonic)
    done: list[str] = []
    repetitions.add(lambda: done.append("often"), 1.0, "often", lambda: None)
    repetitions.add(lambda: done.append("seldom"), 2.0, "seldom", lambda: None)

    repetitions.run()
    assert not done
    for _ in range(4):
        clock.advance(1.0)
        repetitions.run()

    assert (done.count("often"), done.count("seldom")) == (4, 2)


def test_work_is_repeated_after_any_exception_which_is_counted(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    repetitions = tasks.Repetitions(clock.monotonic)
    outcomes: list[Exception | None] = [OSError(22, "Invalid argument"), ValueError("odd"), None]
    failures: list[int] = []
    others: list[int] = []

    def work() -> None:
        if outcome := outcomes.pop(0):
            raise outcome

    repetitions.add(work, 1.0, "a-work", lambda: failures.append(1))
    repetitions.add(lambda: others.append(1), 1.0, "another", lambda: None)
    for _ in range(3):
        clock.advance(1.0)
        repetitions.run()

    assert (len(failures), len(others)) == (2, 3)
    assert [record.__dict__["task"] for record in caplog.records] == ["a-work"] * 2

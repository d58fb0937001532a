"""Who is killed for standing still, and who is not."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.server import watchdog
from ingest.server.watchdog import STALL_SECONDS, Watchdog, beat
from tests.unit.fakes import FakeClock, until

LIMIT_SECONDS = 4.0
STEP_SECONDS = 1.0


class Looks:
    """A watchdog on fake time, which looks every second, and whom it would kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.killed: list[int] = []
        self._watchdog = Watchdog(folder, LIMIT_SECONDS, self.killed.append, self.clock.monotonic)

    def for_seconds(self, seconds: float) -> None:
        for _ in range(int(seconds / STEP_SECONDS)):
            self.clock.advance(STEP_SECONDS)
            self._watchdog.look()

    def after(self, seconds: float) -> None:
        """One look, so late."""
        self.clock.advance(seconds)
        self._watchdog.look()


@pytest.fixture
def looks(tmp_path: Path) -> Looks:
    return Looks(tmp_path)


async def beat_once(looks: Looks) -> "asyncio.Task[None]":
    """This process as a worker; it does not beat again, as real time stands still for the test."""
    task = asyncio.create_task(beat(looks.folder, looks.clock.monotonic))
    own = looks.folder / str(os.getpid())
    await until(lambda: own.exists() and own.stat().st_size)
    return task


async def test_worker_that_stands_still_is_killed_after_the_limit(looks: Looks) -> None:
    task = await beat_once(looks)

    looks.for_seconds(LIMIT_SECONDS)
    assert not looks.killed
    looks.for_seconds(STEP_SECONDS)

    assert looks.killed == [os.getpid()]
    task.cancel()


async def test_worker_that_ended_is_forgotten(looks: Looks) -> None:
    task = await beat_once(looks)
    task.cancel()
    await asyncio.wait([task])

    looks.for_seconds(3 * LIMIT_SECONDS)

    assert not looks.killed
    assert not list(looks.folder.iterdir())


async def test_worker_whose_file_was_deleted_beats_in_a_new_one(looks: Looks) -> None:
    task = await beat_once(looks)
    (looks.folder / str(os.getpid())).unlink()
    await until(lambda: any(path.stat().st_size for path in looks.folder.iterdir()))

    looks.for_seconds(LIMIT_SECONDS + STEP_SECONDS)

    assert looks.killed == [os.getpid()]
    task.cancel()


@pytest.mark.parametrize("whole", [False, True], ids=["file", "folder"])
async def test_worker_that_stands_still_is_killed_also_when_its_file_was_deleted(looks: Looks, whole: bool) -> None:
    task = await beat_once(looks)
    looks.for_seconds(STEP_SECONDS)
    (looks.folder / str(os.getpid())).unlink()
    if whole:
        looks.folder.rmdir()

    looks.for_seconds(LIMIT_SECONDS)

    assert looks.killed == [os.getpid()]
    task.cancel()


def test_file_of_a_dead_process_kills_nobody(looks: Looks, another_pid: int) -> None:
    # The number is another process's by now: whoever beat has let go of the lock.
    (looks.folder / str(another_pid)).write_bytes(b"\0" * 8)

    looks.for_seconds(3 * LIMIT_SECONDS)

    assert not looks.killed
    assert not list(looks.folder.iterdir())


async def test_machine_that_stood_still_is_not_the_workers_fault(looks: Looks) -> None:
    task = await beat_once(looks)

    looks.after(STALL_SECONDS + LIMIT_SECONDS)
    looks.for_seconds(LIMIT_SECONDS)
    assert not looks.killed
    looks.for_seconds(STEP_SECONDS)

    assert looks.killed == [os.getpid()]
    task.cancel()


@pytest.mark.parametrize("stray", ["notes.txt", "0", "-1", "\u0663", "9" * 12, "7~"])
async def test_stray_file_does_not_blind_the_watchdog(looks: Looks, stray: str) -> None:
    (looks.folder / stray).write_bytes(b"\0" * 8)
    task = await beat_once(looks)

    looks.for_seconds(LIMIT_SECONDS + STEP_SECONDS)

    assert looks.killed == [os.getpid()]
    assert (looks.folder / stray).exists()
    task.cancel()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
async def test_what_is_no_file_does_not_blind_the_watchdog(looks: Looks, make: Callable[[Path], None]) -> None:
    for number in range(1, 10):
        make(looks.folder / str(number))
    task = await beat_once(looks)

    looks.for_seconds(LIMIT_SECONDS + STEP_SECONDS)

    assert looks.killed == [os.getpid()]
    task.cancel()


def test_only_own_workers_are_killed() -> None:
    with pytest.raises(ChildProcessError):
        watchdog.kill(os.getppid())


@pytest.fixture
def another_pid() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")

"""The watchdog kills a worker whose event loop does not run, and nothing else."""

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


class WatchedFolder:
    """A watchdog on fake time that checks every second, and the processes that it would kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.killed: list[int] = []
        self._watchdog = Watchdog(folder, LIMIT_SECONDS, self.killed.append, self.clock.monotonic)

    def check_for(self, seconds: float) -> None:
        for _ in range(int(seconds / STEP_SECONDS)):
            self.clock.advance(STEP_SECONDS)
            self._watchdog.check()

    def check_after(self, seconds: float) -> None:
        """Check once, after this time."""
        self.clock.advance(seconds)
        self._watchdog.check()


@pytest.fixture
def watched(tmp_path: Path) -> WatchedFolder:
    return WatchedFolder(tmp_path)


async def beat_once(watched: WatchedFolder) -> "asyncio.Task[None]":
    """Beat once in the name of this process. No second beat comes during the test."""
    task = asyncio.create_task(beat(watched.folder, watched.clock.monotonic, lambda: True))
    own = watched.folder / str(os.getpid())
    await until(lambda: own.exists() and own.stat().st_size)
    return task


async def test_worker_that_hangs_is_killed_after_the_limit(watched: WatchedFolder) -> None:
    task = await beat_once(watched)

    watched.check_for(LIMIT_SECONDS)
    assert not watched.killed
    watched.check_for(STEP_SECONDS)

    assert watched.killed == [os.getpid()]
    task.cancel()


async def test_worker_that_ended_is_forgotten(watched: WatchedFolder) -> None:
    task = await beat_once(watched)
    task.cancel()
    await asyncio.wait([task])

    watched.check_for(3 * LIMIT_SECONDS)

    assert not watched.killed
    assert not list(watched.folder.iterdir())


async def test_worker_whose_file_was_deleted_beats_in_a_new_one(watched: WatchedFolder) -> None:
    task = await beat_once(watched)
    (watched.folder / str(os.getpid())).unlink()
    await until(lambda: any(path.stat().st_size for path in watched.folder.iterdir()))

    watched.check_for(LIMIT_SECONDS + STEP_SECONDS)

    assert watched.killed == [os.getpid()]
    task.cancel()


@pytest.mark.parametrize("whole", [False, True], ids=["file", "folder"])
async def test_worker_that_hangs_is_killed_even_if_its_file_was_deleted(watched: WatchedFolder, whole: bool) -> None:
    task = await beat_once(watched)
    watched.check_for(STEP_SECONDS)
    (watched.folder / str(os.getpid())).unlink()
    if whole:
        watched.folder.rmdir()

    watched.check_for(LIMIT_SECONDS)

    assert watched.killed == [os.getpid()]
    task.cancel()


def test_file_of_a_dead_process_kills_nobody(watched: WatchedFolder, another_pid: int) -> None:
    # Another process has this id now. The process that beat has released the lock.
    (watched.folder / str(another_pid)).write_bytes(b"\0" * 8)

    watched.check_for(3 * LIMIT_SECONDS)

    assert not watched.killed
    assert not list(watched.folder.iterdir())


async def test_workers_are_spared_after_the_whole_machine_was_suspended(watched: WatchedFolder) -> None:
    task = await beat_once(watched)

    watched.check_after(STALL_SECONDS + LIMIT_SECONDS)
    watched.check_for(LIMIT_SECONDS)
    assert not watched.killed
    watched.check_for(STEP_SECONDS)

    assert watched.killed == [os.getpid()]
    task.cancel()


@pytest.mark.parametrize("stray", ["notes.txt", "0", "-1", "\u0663", "9" * 12, "7~"])
async def test_watchdog_ignores_stray_files(watched: WatchedFolder, stray: str) -> None:
    (watched.folder / stray).write_bytes(b"\0" * 8)
    task = await beat_once(watched)

    watched.check_for(LIMIT_SECONDS + STEP_SECONDS)

    assert watched.killed == [os.getpid()]
    assert (watched.folder / stray).exists()
    task.cancel()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
async def test_watchdog_ignores_folders_pipes_and_links(watched: WatchedFolder, make: Callable[[Path], None]) -> None:
    for number in range(1, 10):
        make(watched.folder / str(number))
    task = await beat_once(watched)

    watched.check_for(LIMIT_SECONDS + STEP_SECONDS)

    assert watched.killed == [os.getpid()]
    task.cancel()


def test_only_own_workers_are_killed() -> None:
    with pytest.raises(ChildProcessError):
        watchdog.kill(os.getppid())


@pytest.fixture
def another_pid() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")

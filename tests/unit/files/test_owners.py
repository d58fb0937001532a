"""Each dead worker is counted once, and a worker that ended as planned never."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingest.files.owners import Owners

STARTERS = 8
ZOMBIES = 300


@pytest.fixture
def ended_pid() -> int:
    """The process id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


@pytest.fixture
def live_pid() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def owners(tmp_path: Path) -> Owners:
    return Owners(tmp_path)


def test_first_worker_of_an_index_succeeds_nobody(owners: Owners) -> None:
    assert owners.succeed(0) == 0
    assert owners.alive(0)


def test_dead_worker_is_counted_by_its_successor(owners: Owners, ended_pid: int) -> None:
    owners.path(0).write_text(str(ended_pid))

    assert owners.succeed(0) == 1
    assert owners.alive(0)


def test_earlier_worker_of_the_index_is_dead_although_another_process_has_its_id(owners: Owners, live_pid: int) -> None:
    """The caller holds the lock of the index."""
    owners.path(0).write_text(str(live_pid))

    assert owners.succeed(0) == 1


def test_worker_that_ended_as_planned_is_not_counted(owners: Owners) -> None:
    owners.succeed(0)
    owners.leave(0)

    assert not owners.alive(0)
    assert owners.succeed(0) == 0


def test_dead_worker_is_counted_once_if_its_successor_has_another_index(
    owners: Owners, ended_pid: int, live_pid: int
) -> None:
    """After a reload workers have the indexes 0 and 2. If the worker 2 dies, its successor gets the index 1."""
    owners.path(0).write_text(str(live_pid))
    owners.path(2).write_text(str(ended_pid))

    assert [owners.succeed(1), owners.succeed(2)] == [1, 0]
    assert owners.alive(0)


def test_workers_that_start_at_once_count_each_dead_worker_once(owners: Owners, ended_pid: int) -> None:
    for index in range(STARTERS):
        owners.path(index).write_text(str(ended_pid))

    with ThreadPoolExecutor(STARTERS) as threads:
        counts = list(threads.map(owners.succeed, range(STARTERS)))

    assert sum(counts) == STARTERS
    assert all(owners.alive(index) for index in range(STARTERS))


@pytest.mark.parametrize("content", ["", "x"])
def test_file_without_a_process_id_belongs_to_a_dead_worker(owners: Owners, content: str) -> None:
    owners.path(1).write_text(content)

    assert owners.succeed(0) == 1


def test_dead_worker_stays_dead_while_its_supervisor_notices_it(owners: Owners) -> None:
    """The process is a zombie at first, and is gone a moment later."""
    with ThreadPoolExecutor(1) as supervisor:
        for _ in range(ZOMBIES):
            pid = os.posix_spawn("/bin/true", ["true"], {})
            owners.path(0).write_text(str(pid))
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            noticed = supervisor.submit(os.waitpid, pid, 0)
            while not noticed.done():
                assert not owners.alive(0)

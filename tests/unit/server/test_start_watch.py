"""A worker that does not start within the limit is killed, and nothing else."""

import asyncio
import os
from pathlib import Path

import pytest

from ingest.server.start_watch import StartWatch
from ingest.server.watchdog import STALL_SECONDS, beat
from tests.unit.fakes import FakeClock, until

LIMIT_SECONDS = 60.0
STEP_SECONDS = 1.0
OWN = os.getpid()
"""Only this process can beat in the name of a worker."""


class Started:
    """A worker that was started now, and the watch of it on fake time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.births = {OWN: self.clock.monotonic()}
        self.killed: list[int] = []
        self.works = False
        births = self.births.copy
        self._watch = StartWatch(folder, births, LIMIT_SECONDS, self.killed.append, self.clock.monotonic)

    async def beat(self) -> None:
        """Beat once."""
        own = self.folder / str(OWN)
        beating = asyncio.create_task(beat(self.folder, self.clock.monotonic, lambda: self.works))
        await until(lambda: own.exists() and own.stat().st_size)
        self.check()
        beating.cancel()
        await asyncio.wait([beating])

    def check(self) -> None:
        self._watch.check()

    def check_for(self, seconds: float) -> None:
        for _ in range(int(seconds / STEP_SECONDS)):
            self.clock.advance(STEP_SECONDS)
            self._watch.check()


@pytest.fixture
def worker(tmp_path: Path) -> Started:
    return Started(tmp_path)


def test_worker_that_never_beats_is_killed_after_the_limit(worker: Started, caplog: pytest.LogCaptureFixture) -> None:
    worker.check_for(LIMIT_SECONDS)
    assert not worker.killed
    worker.check_for(STEP_SECONDS)

    assert worker.killed == [OWN]
    (record,) = caplog.records
    assert (record.__dict__["worker"], record.__dict__["limit_seconds"]) == (OWN, LIMIT_SECONDS)


async def test_worker_that_beats_but_never_works_is_killed_after_the_limit(worker: Started) -> None:
    await worker.beat()

    worker.check_for(LIMIT_SECONDS + STEP_SECONDS)

    assert worker.killed == [OWN]


async def test_worker_that_works_is_spared_also_after_its_file_is_gone(worker: Started) -> None:
    worker.works = True
    await worker.beat()
    assert not list(worker.folder.iterdir())

    worker.check_for(2 * LIMIT_SECONDS)

    assert not worker.killed


async def test_another_worker_with_the_same_process_id_must_start_too(worker: Started) -> None:
    worker.works = True
    await worker.beat()
    worker.check_for(STEP_SECONDS)
    worker.births[OWN] = worker.clock.monotonic()

    worker.check_for(LIMIT_SECONDS + STEP_SECONDS)

    assert worker.killed == [OWN]


def test_worker_that_ended_is_left_alone(worker: Started) -> None:
    worker.births.clear()

    worker.check_for(2 * LIMIT_SECONDS)

    assert not worker.killed


def test_worker_has_its_limit_again_after_the_whole_machine_was_suspended(worker: Started) -> None:
    worker.clock.advance(LIMIT_SECONDS + STALL_SECONDS)
    worker.check()

    worker.check_for(LIMIT_SECONDS)
    assert not worker.killed
    worker.check_for(STEP_SECONDS)

    assert worker.killed == [OWN]

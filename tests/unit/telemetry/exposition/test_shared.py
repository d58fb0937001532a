"""Two objects stand for two workers, which share only the folder."""

import fcntl
import threading
from pathlib import Path

import pytest

from ingest.telemetry.exposition.shared import KEEP_SECONDS, WAIT_SECONDS_MAX, SharedExposition
from tests.services import wait_until
from tests.unit.fakes import FakeClock

PAST = 1000.0


class Workers:
    """The expositions carry numbers from 1."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self.path = path
        self.made = 0
        self.gate = threading.Event()
        self.gate.set()
        self.one = SharedExposition(path, self._make, lambda: path.stat().st_mtime + self.age, clock.monotonic)
        self.other = SharedExposition(path, self._make, lambda: path.stat().st_mtime + self.age, clock.monotonic)
        self.age = 0.0
        """Age of the shared file."""

    def _make(self) -> bytes:
        self.gate.wait()
        self.made += 1
        return b"%d" % self.made


@pytest.fixture
def workers(tmp_path: Path, clock: FakeClock) -> Workers:
    return Workers(tmp_path / "exposition", clock)


def test_workers_share_one_exposition_for_its_time(workers: Workers) -> None:
    assert [workers.one.read(), workers.other.read(), workers.one.read()] == [b"1"] * 3
    workers.age = KEEP_SECONDS
    assert [workers.other.read(), workers.one.read()] == [b"2", b"3"]  # the fake age stays


def test_file_from_the_future_is_not_kept(workers: Workers) -> None:
    workers.one.read()
    workers.age = -PAST
    assert workers.one.read() == b"2"


def test_second_worker_waits_for_the_first_ones_exposition(workers: Workers) -> None:
    workers.gate.clear()
    answers: list[bytes] = []
    threads = [threading.Thread(target=lambda w=w: answers.append(w.read())) for w in (workers.one, workers.other)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: workers.path.with_suffix(".lock").exists(), 60)
    workers.gate.set()
    for thread in threads:
        thread.join()
    assert answers == [b"1", b"1"]


def test_worker_that_stands_still_with_the_lock_does_not_block_the_others(workers: Workers, clock: FakeClock) -> None:
    def later() -> bool:
        clock.seconds += WAIT_SECONDS_MAX
        return False

    with workers.path.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=workers.one.read)
        thread.start()
        assert wait_until(lambda: later() or not thread.is_alive(), 60)
    assert workers.made == 1


def test_worker_that_cannot_share_keeps_its_own_exposition(tmp_path: Path, clock: FakeClock) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    workers = Workers(blocker / "exposition", clock)
    assert [workers.one.read(), workers.one.read()] == [b"1", b"1"]
    clock.seconds += KEEP_SECONDS
    assert workers.one.read() == b"2"


def test_only_the_services_user_can_read_the_file(workers: Workers) -> None:
    workers.one.read()
    assert workers.path.stat().st_mode & 0o777 == 0o600

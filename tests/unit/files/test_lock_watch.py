"""The watch restores a worker's locks when somebody deletes their files."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from ingest.files.lock_watch import SHOWN_SECONDS, TOUCH_SECONDS, LockWatch
from ingest.files.locks import FileLock, lock
from tests.unit.fakes import FakeClock


@pytest.fixture
def held(tmp_path: Path) -> FileLock:
    folder = tmp_path / "run"
    folder.mkdir()
    taken = lock(folder / "some.lock")
    assert taken is not None
    return taken


@pytest.fixture
def watch(held: FileLock, clock: FakeClock) -> LockWatch:
    watch = LockWatch(clock.monotonic)
    watch.add(lambda: held)
    return watch


def test_intact_lock_is_no_problem(watch: LockWatch) -> None:
    watch.look()

    assert watch.problem() is None


def test_lock_with_a_deleted_file_is_restored_and_reported(
    watch: LockWatch, held: FileLock, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    held.path.unlink()

    watch.look()

    assert held.intact
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert str(held.path) in str(watch.problem())
    clock.advance(SHOWN_SECONDS)
    assert watch.problem() is None


def test_lock_with_a_deleted_folder_is_restored(watch: LockWatch, held: FileLock) -> None:
    shutil.rmtree(held.path.parent)

    watch.look()

    assert held.intact


def test_lock_that_another_process_has_by_now_is_a_problem_until_it_is_free(
    watch: LockWatch, held: FileLock, caplog: pytest.LogCaptureFixture
) -> None:
    held.path.unlink()
    with held.path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        watch.look()
        watch.look()

        assert "another process has it now" in str(watch.problem())
        assert len(caplog.records) == 1
    watch.look()
    assert held.intact


def test_folder_that_cannot_be_made_again_is_a_problem_and_does_not_end_the_watch(
    watch: LockWatch, held: FileLock, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(held.path.parent)
    held.path.parent.write_text("a file where the folder was")

    watch.look()
    watch.look()

    assert watch.problem()
    assert len(caplog.records) == 1


def test_released_lock_is_not_taken_again(watch: LockWatch, held: FileLock) -> None:
    held.release()
    held.path.unlink()

    watch.look()

    assert not held.path.exists()


def test_file_of_a_lock_never_looks_old(watch: LockWatch, held: FileLock, clock: FakeClock) -> None:
    watch.look()
    os.utime(held.path, (0, 0))
    clock.advance(TOUCH_SECONDS)

    watch.look()

    assert held.path.stat().st_mtime > 0

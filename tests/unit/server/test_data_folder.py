"""One service per data folder, even if lock files were deleted or supervisors were killed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ingest.errors import SettingsError
from ingest.files.locks import FileLock, take_worker_index
from ingest.server.data_folder import LOCK, claim, running
from ingest.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "var", port=8123)


@pytest.fixture
def owner(settings: Settings) -> FileLock:
    return claim(settings)


def hurried() -> Callable[[], float]:
    """Return a clock by which the second attempt is too late."""
    times = iter((0.0, 100.0))
    return lambda: next(times)


def refusal(settings: Settings) -> str:
    with pytest.raises(SettingsError) as raised:
        claim(msgspec.structs.replace(settings, port=9000), hurried())
    return str(raised.value)


def test_second_service_is_refused_and_the_first_one_named(settings: Settings, owner: FileLock) -> None:
    assert f"(PID {os.getpid()}, port 8123)" in refusal(settings)

    owner.release()

    claim(settings).release()


def test_running_service_is_found_without_changing_anything(settings: Settings) -> None:
    assert running(settings.data_dir) is None
    assert not settings.data_dir.exists()

    owner = claim(settings)
    found = running(settings.data_dir)
    assert found is not None
    assert (found.pid, found.port) == (os.getpid(), 8123)

    owner.release()
    assert running(settings.data_dir) is None


@pytest.mark.parametrize("what", [LOCK, ""])
def test_folder_stays_in_use_if_its_lock_or_all_of_it_was_deleted(
    settings: Settings, owner: FileLock, what: str
) -> None:
    gone = settings.data_dir / "run" / what
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()

    refusal(settings)

    assert owner.renew()
    assert f"PID {os.getpid()}" in refusal(settings)


def test_folder_stays_in_use_while_a_worker_of_a_dead_supervisor_lives(settings: Settings, owner: FileLock) -> None:
    owner.release()
    worker_index = take_worker_index(settings.data_dir / "run")

    assert f"only its workers are left (PIDs: {os.getpid()})" in refusal(settings)

    worker_index.lock.path.unlink()
    assert "only its workers are left" in refusal(settings)
    worker_index.release()
    claim(settings).release()


def test_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert "INGEST_DATA_DIR" in refusal(Settings(data_dir=tmp_path / "file"))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"pid": "none"}'])
def test_lock_file_with_damaged_content_still_locks(settings: Settings, owner: FileLock, content: bytes) -> None:
    owner.path.write_bytes(content)

    assert "another `ingest serve` uses" in refusal(settings)

"""Whose a data folder is, and what tells it when lock files are gone or supervisors were killed."""

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
    """A clock by which the second look is too late."""
    times = iter((0.0, 100.0))
    return lambda: next(times)


def refusal(settings: Settings) -> str:
    with pytest.raises(SettingsError) as raised:
        claim(msgspec.structs.replace(settings, port=9000), hurried())
    return str(raised.value)


def test_second_service_is_told_whose_the_folder_is(settings: Settings, owner: FileLock) -> None:
    assert f"(PID {os.getpid()}, port 8123)" in refusal(settings)

    owner.release()

    claim(settings).release()


def test_running_service_is_known_and_asking_changes_nothing(settings: Settings) -> None:
    assert running(settings.data_dir) is None
    assert not settings.data_dir.exists()

    owner = claim(settings)
    found = running(settings.data_dir)
    assert found is not None
    assert (found.pid, found.port) == (os.getpid(), 8123)

    owner.release()
    assert running(settings.data_dir) is None


@pytest.mark.parametrize("what", [LOCK, ""])
def test_folder_is_not_free_when_its_lock_or_the_whole_of_it_was_deleted(
    settings: Settings, owner: FileLock, what: str
) -> None:
    gone = settings.data_dir / "run" / what
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()

    refusal(settings)

    assert owner.renew()
    assert f"PID {os.getpid()}" in refusal(settings)


def test_folder_is_not_free_while_a_worker_of_a_dead_supervisor_lives(settings: Settings, owner: FileLock) -> None:
    owner.release()
    worker_index = take_worker_index(settings.data_dir / "run")

    assert f"only its workers are left (PIDs: {os.getpid()})" in refusal(settings)

    worker_index.lock.path.unlink()
    assert "only its workers are left" in refusal(settings)
    worker_index.release()
    claim(settings).release()


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert "INGEST_DATA_DIR" in refusal(Settings(data_dir=tmp_path / "file"))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"pid": "none"}'])
def test_lock_that_says_nothing_is_a_lock_all_the_same(settings: Settings, owner: FileLock, content: bytes) -> None:
    owner.path.write_bytes(content)

    assert "another `ingest serve` uses" in refusal(settings)

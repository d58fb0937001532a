import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.errors import SettingsError
from ingest.files.locks import FileLock, holders_of_lost, is_locked, lock, take_worker_index

HOLDER = """import sys
from pathlib import Path
from ingest.files.locks import lock
held = lock(Path(sys.argv[1]))
print(held.intact, flush=True)
input()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "some.lock"


@pytest.fixture
def held(path: Path) -> FileLock:
    path.parent.mkdir()
    taken = lock(path)
    assert taken is not None
    return taken


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    path.unlink()
    path.touch()


def move(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.bak"))


def delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def replace_folder(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()


each_damage = pytest.mark.parametrize("damage", [delete, replace, move, delete_folder, replace_folder])
Damage = Callable[[Path], None]


def test_worker_indexes_are_distinct_and_the_lowest_free_one_is_taken(tmp_path: Path) -> None:
    indexes = [take_worker_index(tmp_path / "run") for _ in range(3)]
    assert [index.number for index in indexes] == [0, 1, 2]

    indexes[1].release()

    assert take_worker_index(tmp_path / "run").number == 1


def test_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match=r"INGEST_DATA_DIR: .*file.*cannot be used"):
        take_worker_index(tmp_path / "file")


def test_lock_is_intact_until_it_is_released(path: Path, held: FileLock) -> None:
    assert held.intact

    held.release()

    assert not held.intact
    assert lock(path) is not None


@each_damage
def test_holder_notices_that_its_file_is_gone_and_locks_another(path: Path, held: FileLock, damage: Damage) -> None:
    damage(path)
    assert not held.intact

    assert held.renew()

    assert held.intact
    assert lock(path) is None


@each_damage
def test_path_is_not_free_while_a_live_process_has_its_last_file(path: Path, held: FileLock, damage: Damage) -> None:
    damage(path)
    path.parent.mkdir(exist_ok=True)

    assert lock(path) is None

    held.release()
    assert lock(path) is not None


def test_deleted_lock_of_another_process_is_not_free_until_that_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "some.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        path.unlink()

        assert lock(path) is None
        assert holders_of_lost(path) == {other.pid}

        other.kill()
    assert lock(path) is not None


def test_lock_is_not_renewed_on_a_file_that_another_has(path: Path, held: FileLock) -> None:
    path.unlink()
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        assert not held.renew()

    assert held.renew()


def test_neighbours_with_the_same_beginning_are_no_evidence(tmp_path: Path) -> None:
    assert lock(tmp_path / "1234")

    assert not holders_of_lost(tmp_path / "123")


def test_live_worker_keeps_its_index_when_its_lock_is_deleted(tmp_path: Path) -> None:
    first = take_worker_index(tmp_path)
    first.lock.path.unlink()

    assert take_worker_index(tmp_path).number == 1


def test_released_lock_has_no_file(held: FileLock) -> None:
    held.release()

    with pytest.raises(OSError, match="the lock is released") as raised:
        _ = held.descriptor
    assert raised.value.errno == errno.EBADF


def test_pipe_at_a_locks_path_does_not_block(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)

    assert not is_locked(path)
    assert lock(path) is not None
    assert is_locked(path)


def test_symbolic_link_at_a_locks_path_is_not_followed(path: Path, held: FileLock, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("content")
    path.unlink()
    path.symlink_to(other)

    assert not held.intact
    for use in (held.renew, lambda: lock(path), lambda: is_locked(path)):
        with pytest.raises(OSError, match="symbolic links"):
            use()
    assert other.read_text() == "content"

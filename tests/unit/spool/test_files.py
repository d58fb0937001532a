from pathlib import Path

import pytest

from ingest.errors import SettingsError
from ingest.spool.files import damaged, is_held, mark_salvaged, salvaged, spools, take_orphans, take_spool


def test_each_owner_has_a_file_of_its_own(folder: Path) -> None:
    first, second = take_spool(folder), take_spool(folder)

    assert first.path != second.path
    assert is_held(first.path)


def test_owner_notices_that_its_lock_was_deleted(folder: Path) -> None:
    file = take_spool(folder)
    assert file.intact

    (folder / "spool-0.lock").unlink()

    assert not file.intact
    assert is_held(file.path)
    assert take_spool(folder).path != file.path


def test_file_of_a_dead_owner_is_the_next_ones(folder: Path) -> None:
    first = take_spool(folder)
    first.release()

    assert take_spool(folder).path == first.path


def test_orphans_are_files_that_nobody_has(folder: Path) -> None:
    own, orphan, gone = take_spool(folder), take_spool(folder), take_spool(folder)
    for file in (own, orphan):
        file.path.touch()
    orphan.release()
    gone.release()  # its file was never written, or was adopted

    (found,) = take_orphans(folder)

    assert found.path == orphan.path
    assert list(take_orphans(folder)) == []


def test_removed_spool_is_gone_with_its_log(folder: Path) -> None:
    file = take_spool(folder)
    file.path.touch()
    file.path.with_name("spool-0.db-wal").touch()

    file.remove()

    assert spools(folder) == []
    assert [path.name for path in folder.iterdir()] == ["spool-0.lock"]


def test_files_set_aside_keep_their_logs_and_never_replace_one_another(folder: Path) -> None:
    file = take_spool(folder)
    for content in (b"first", b"second"):
        file.path.write_bytes(content)
        file.path.with_name("spool-0.db-wal").write_bytes(content)
        file.set_aside()

    assert [path.read_bytes() for path in damaged(folder)] == [b"first", b"second"]
    done = mark_salvaged(damaged(folder)[0])
    assert (done.read_bytes(), done.with_name(f"{done.name}-wal").read_bytes()) == (b"first", b"first")
    assert (len(damaged(folder)), salvaged(folder)) == (1, [done])
    file.path.write_bytes(b"third")
    file.set_aside()
    assert sorted(path.read_bytes() for path in [*damaged(folder), *salvaged(folder)]) == [
        b"first",
        b"second",
        b"third",
    ]


def test_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match="INGEST_DATA_DIR"):
        take_spool(tmp_path / "file" / "spool")

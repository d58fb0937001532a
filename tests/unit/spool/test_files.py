from pathlib import Path

import pytest

from ingest.errors import SettingsError
from ingest.spool.files import damaged, is_held, segments_of, spools, take_orphans, take_spool


def segment(folder: Path, spool: int, number: int, suffix: str = ".log") -> Path:
    path = folder / f"spool-{spool}.{number:08d}.00112233445566ff{suffix}"
    path.touch()
    return path


def test_each_owner_has_a_spool_of_its_own(folder: Path) -> None:
    first, second = take_spool(folder), take_spool(folder)

    assert (first.number, second.number) == (0, 1)
    assert is_held(folder, 0)


def test_spool_of_a_dead_owner_is_the_next_ones(folder: Path) -> None:
    first = take_spool(folder)
    first.release()

    assert take_spool(folder).number == first.number


def test_who_asks_whether_a_spool_is_held_creates_nothing(folder: Path) -> None:
    folder.mkdir()

    assert not is_held(folder, 3)

    assert list(folder.iterdir()) == []


def test_orphans_are_spools_without_an_owner(folder: Path) -> None:
    own, orphan, gone = take_spool(folder), take_spool(folder), take_spool(folder)
    for taken in (own, orphan):
        segment(folder, taken.number, 1)
    orphan.release()
    gone.release()  # it was never written, or was adopted

    (found,) = take_orphans(folder)

    assert found.number == orphan.number
    assert list(take_orphans(folder)) == []


def test_segments_are_in_their_order_and_no_number_is_used_twice(folder: Path) -> None:
    taken = take_spool(folder)
    made = [segment(folder, 0, number) for number in (2, 10, 9)]
    kept = segment(folder, 0, 11, ".damaged")
    segment(folder, 1, 77)

    assert segments_of(folder, 0) == [made[0], made[2], made[1]]
    assert taken.next_number() == 12
    assert damaged(folder) == [kept]
    assert spools(folder) == [0, 1]


def test_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match="INGEST_DATA_DIR"):
        take_spool(tmp_path / "file" / "spool")

from pathlib import Path

import pytest

from ingest.errors import SettingsError
from ingest.seats import take_seat


def test_seats_are_distinct_and_the_lowest_free_one_is_taken(tmp_path: Path) -> None:
    seats = [take_seat(tmp_path / "run") for _ in range(3)]
    assert [seat.number for seat in seats] == [0, 1, 2]

    seats[1].release()

    assert take_seat(tmp_path / "run").number == 1


def test_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match=r"INGEST_DATA_DIR: .*file.*cannot be used"):
        take_seat(tmp_path / "file")

"""A spool's file is damaged in many ways: all records that the damage did not touch are read out of it."""

import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ingest.batches import pack
from ingest.spool.records import Record
from ingest.spool.salvage import salvage
from ingest.spool.statements import INSERT, SCHEMA
from ingest.sqlite import connect
from tests.unit.making import NOW_US, batch, event

PAGE_BYTES = 4096
SIZES = (10, 1500, 9000, 60_000)
"""Of what cannot be compressed in a batch: within a page, most of one, a few, and a long chain of pages."""
RECORDS = 160
CELLS_MAX = 40
"""No page holds more of these records."""


def records(count: int = RECORDS) -> list[Record]:
    made = []
    for number in range(count):
        size = SIZES[number % len(SIZES)]
        one = batch([event(f"call-{number}", note=os.urandom(size // 2).hex())], us=NOW_US + number * 1000)
        made.append(Record(one.first_id, 1, None if number % 3 else number, pack(one)))
    return made


@pytest.fixture(scope="module")
def kept() -> list[Record]:
    return records()


@pytest.fixture
def path(tmp_path: Path, kept: list[Record]) -> Path:
    """A spool that was closed."""
    path = tmp_path / "spool-0.db"
    write(path, kept)
    return path


def write(path: Path, kept: list[Record]) -> None:
    with closing(connect(path, 1.0)) as connection:
        connection.executescript(SCHEMA)
        insert(connection, kept)


def insert(connection: sqlite3.Connection, kept: list[Record]) -> None:
    for one in kept:
        connection.execute(INSERT, (one.first_id, one.count, one.lease_until, one.batch))


def lost(path: Path, kept: list[Record]) -> int:
    """How many are lost; nothing false may be found."""
    found = list(salvage(path))
    assert len({one.first_id for one in found}) == len(found)
    assert set(found) <= set(kept)
    return len(kept) - len(found)


def overwrite(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def pages(path: Path) -> range:
    return range(1, path.stat().st_size // PAGE_BYTES + 1)


ZEROS, ONES = b"\0" * PAGE_BYTES, b"\xff" * PAGE_BYTES
NOISE = random.Random(7).randbytes(PAGE_BYTES)


def test_all_is_found_in_a_file_that_is_whole(path: Path, kept: list[Record]) -> None:
    assert lost(path, kept) == 0


def test_all_is_found_in_a_file_and_its_log(tmp_path: Path, kept: list[Record]) -> None:
    path, copy = tmp_path / "spool-0.db", tmp_path / "copy.db"
    write(path, kept[:80])
    with closing(connect(path, 1.0)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        insert(connection, kept[80:])
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")

    assert lost(copy, kept) == 0


def test_what_was_removed_is_not_found_again(path: Path, kept: list[Record]) -> None:
    with closing(connect(path, 1.0)) as connection:
        connection.executemany("DELETE FROM spool WHERE first_id = ?", [(one.first_id,) for one in kept[::2]])

    assert lost(path, kept[1::2]) == 0


def test_newest_state_of_a_record_is_found(path: Path, kept: list[Record]) -> None:
    with closing(connect(path, 1.0)) as connection:
        connection.execute("UPDATE spool SET lease_until = 77")
        shutil.copy(f"{path}-wal", f"{path}-copy")
        shutil.copy(path, f"{path}.copy")

    assert {one.lease_until for one in salvage(path)} == {77}


@pytest.mark.parametrize("content", [ZEROS, ONES, NOISE], ids=["zeros", "ones", "noise"])
def test_a_damaged_page_costs_only_what_is_on_it(path: Path, kept: list[Record], content: bytes) -> None:
    original = path.read_bytes()
    dice = random.Random(1)
    costs = []
    for number in [1, 2, 3, *dice.sample(pages(path), 20)]:
        overwrite(path, (number - 1) * PAGE_BYTES, content)
        costs.append(lost(path, kept))
        path.write_bytes(original)

    assert costs[0] == 0  # the header: of the file and of the schema
    assert max(costs) <= CELLS_MAX
    assert sum(costs) > 0


def test_flipped_bits_cost_their_record_at_most(path: Path, kept: list[Record]) -> None:
    original = path.read_bytes()
    dice = random.Random(2)
    for _ in range(20):
        place = dice.randrange(len(original))
        overwrite(path, place, bytes([original[place] ^ 1 << dice.randrange(8)]))
        assert lost(path, kept) <= CELLS_MAX
        overwrite(path, place, original[place : place + 1])


def test_no_damage_makes_it_fail_or_find_what_was_never_there(path: Path, kept: list[Record]) -> None:
    original = path.read_bytes()
    dice = random.Random(3)
    for _ in range(10):
        for _ in range(30):
            place = dice.randrange(len(original))
            overwrite(path, place, dice.randbytes(dice.choice([1, 8, 300, 5000])))
        lost(path, kept)
        path.write_bytes(original)


@pytest.mark.parametrize("left", [0, 1, 99, 4096, 4097, 300_000])
def test_truncated_file_has_what_is_before_its_end(path: Path, kept: list[Record], left: int) -> None:
    os.truncate(path, left)

    assert lost(path, kept) >= 0


def test_log_without_its_head_and_with_a_damaged_frame_has_the_others(tmp_path: Path, kept: list[Record]) -> None:
    path, copy = tmp_path / "spool-0.db", tmp_path / "copy.db"
    with closing(connect(path, 1.0)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.executescript(SCHEMA)
        insert(connection, kept)
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    log = Path(f"{copy}-wal")
    overwrite(log, 0, b"\0" * 32)
    overwrite(log, 32 + 50 * (24 + PAGE_BYTES) + 24, b"\xff" * PAGE_BYTES)

    assert lost(copy, kept) <= CELLS_MAX


def test_set_aside_records_are_found_as_published_ones(tmp_path: Path, kept: list[Record]) -> None:
    path = tmp_path / "spool-0.db"
    with closing(connect(path, 1.0)) as connection:
        connection.executescript(SCHEMA)
        row = (kept[0].first_id, 1, "refused by the database", kept[0].batch)
        connection.execute("INSERT INTO refused VALUES (?, ?, ?, ?)", row)

    assert list(salvage(path)) == [Record(kept[0].first_id, 1, None, kept[0].batch)]


def test_text_file_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spool-0.db"
    path.write_text("not a database\n" * 1000)

    assert list(salvage(path)) == []

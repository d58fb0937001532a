"""Files of a version before segments: also with the log (WAL) of a killed worker, and with damage in it."""

import os
import random
import shutil
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from ingest.events.batch_codec import pack
from ingest.spool.adoption import Adoption
from ingest.spool.files import spools
from ingest.spool.records import Record, Refused
from ingest.spool.sqlite_spool import FRAME_BYTES, HEADER_BYTES, PAGE_BYTES, Reading
from ingest.spool.store import SpoolStore
from tests.unit.making import NOW_US, batch, event

SCHEMA = """
CREATE TABLE spool (first_id INTEGER PRIMARY KEY, count INTEGER NOT NULL, lease_until INTEGER, batch BLOB NOT NULL);
CREATE INDEX spool_lease_until ON spool (lease_until);
CREATE TABLE keys (digest BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, event_id INTEGER NOT NULL);
CREATE INDEX keys_event_id ON keys (event_id);
CREATE TABLE refused (first_id INTEGER PRIMARY KEY, count INTEGER NOT NULL, reason TEXT NOT NULL, batch BLOB NOT NULL);
"""
RECORDS = 20
STEP = FRAME_BYTES + PAGE_BYTES


def made(count: int = RECORDS) -> list[Record]:
    dice = random.Random(1)
    batches = [
        batch([event(f"call-{at}", note=dice.randbytes(dice.choice([100, 3000])).hex())], us=NOW_US + at * 1000)
        for at in range(count)
    ]
    return [Record(one.first_id, 1, None if at % 3 else at, pack(one)) for at, one in enumerate(batches)]


@pytest.fixture
def kept() -> list[Record]:
    return made()


def leave(path: Path, kept: Sequence[Record], *, killed: bool) -> None:
    path.parent.mkdir(exist_ok=True)
    original = path.with_name("original.db")
    with closing(sqlite3.connect(original, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for one in kept:
            row = (one.first_id, one.count, one.lease_until, one.batch)
            connection.execute("INSERT INTO spool VALUES (?, ?, ?, ?)", row)
        connection.execute("INSERT INTO refused VALUES (7, 1, 'too long', ?)", (kept[0].batch,))
        if not killed:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for suffix in ("", "-wal"):
            shutil.copy(f"{original}{suffix}", f"{path}{suffix}")


def names(folder: Path, pattern: str) -> list[str]:
    return [path.name for path in folder.glob(pattern)]


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def records_in(path: Path) -> tuple[list[Record], bool]:
    reading = Reading(path)
    rows = list(reading.rows())
    return [row for row in rows if isinstance(row, Record)], reading.whole


def test_rows_may_be_read_in_several_threads(tmp_path: Path, kept: list[Record]) -> None:
    leave(tmp_path / "spool-3.db", kept, killed=True)
    reading = Reading(tmp_path / "spool-3.db")
    rows = reading.rows()
    found: list[Record | Refused | None] = []
    while not found or found[-1]:
        with ThreadPoolExecutor(1) as thread:
            found.append(thread.submit(next, rows, None).result())

    assert [row for row in found if isinstance(row, Record)] == kept
    assert reading.whole


@pytest.mark.parametrize("killed", [True, False])
async def test_all_is_taken_over_and_the_file_goes(
    folder: Path, spool: SpoolStore, kept: list[Record], killed: bool
) -> None:
    leave(folder / "spool-3.db", kept, killed=killed)

    await Adoption(folder, spool).adopt()

    records = await spool.after(0, 100)
    assert [(record.first_id, record.batch) for record in records] == [(one.first_id, one.batch) for one in kept]
    assert [record.lease_until is None for record in records] == [one.lease_until is None for one in kept]
    assert {record.lease_until for record in records} == {0, None}
    (refused,) = await spool.refused()
    assert (refused.first_id, refused.reason) == (7, "too long")
    assert spools(folder) == [0]
    assert names(folder, "spool-3.db*") == []


def test_whole_log_is_read_as_it_is(tmp_path: Path, kept: list[Record]) -> None:
    leave(tmp_path / "spool-0.db", kept, killed=True)

    assert records_in(tmp_path / "spool-0.db") == (kept, True)


def test_flipped_byte_in_the_log_costs_what_is_in_its_page(tmp_path: Path, kept: list[Record]) -> None:
    """SQLite silently ignores the log from there on."""
    path = tmp_path / "spool-0.db"
    leave(path, kept, killed=True)
    log = log_of(path)
    content = log.read_bytes()
    frames = (len(content) - HEADER_BYTES) // STEP
    dice = random.Random(2)
    for frame in range(frames):
        flipped = bytearray(content)
        flipped[HEADER_BYTES + frame * STEP + FRAME_BYTES + dice.randrange(100, PAGE_BYTES)] ^= 1
        log.write_bytes(flipped)
        found, whole = records_in(path)
        assert len(kept) - len(found) <= 3
        assert set(found) <= set(kept)
        assert not whole


@pytest.mark.parametrize("place", [0, 5, 9, 14, 17, 24, 30])
def test_flipped_byte_in_the_head_of_the_log_costs_nothing(tmp_path: Path, kept: list[Record], place: int) -> None:
    path = tmp_path / "spool-0.db"
    leave(path, kept, killed=True)
    flipped = bytearray(log_of(path).read_bytes())
    flipped[place] ^= 1
    log_of(path).write_bytes(flipped)

    found, whole = records_in(path)

    assert (found, whole) == (kept, False)


@pytest.mark.parametrize("number", [0, 2**30, 2**32 - 1])
def test_page_number_beyond_the_file_costs_one_page(tmp_path: Path, kept: list[Record], number: int) -> None:
    path = tmp_path / "spool-0.db"
    leave(path, kept, killed=True)
    changed = bytearray(log_of(path).read_bytes())
    changed[HEADER_BYTES + 8 * STEP : HEADER_BYTES + 8 * STEP + 4] = number.to_bytes(4, "big")
    log_of(path).write_bytes(changed)

    found, whole = records_in(path)

    assert len(kept) - len(found) <= 3
    assert not whole


async def test_damaged_file_is_kept_and_reported(
    folder: Path, spool: SpoolStore, kept: list[Record], caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "spool-3.db"
    leave(path, kept, killed=False)
    content = bytes(100) + path.read_bytes()[100:]
    path.write_bytes(content)

    await Adoption(folder, spool).adopt()

    assert (folder / "spool-3.sqlite.damaged").read_bytes() == content
    assert "a spool of an older version is damaged" in caplog.text
    assert spools(folder) == []


async def test_file_that_an_older_version_had_set_aside_is_read(
    folder: Path, spool: SpoolStore, kept: list[Record]
) -> None:
    leave(folder / "spool-3.0.damaged", kept, killed=True)

    await Adoption(folder, spool).adopt()

    assert len(await spool.after(0, 100)) == len(kept)
    assert names(folder, "spool-3*damaged*") == []


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 50, os.urandom(9000)])
async def test_what_is_no_database_is_kept_and_holds_nothing_up(
    folder: Path, spool: SpoolStore, content: bytes
) -> None:
    path = folder / "spool-3.db"
    path.write_bytes(content)

    await Adoption(folder, spool).adopt()

    assert await spool.after(0, 10) == []
    assert not path.exists()
    assert names(folder, "*.damaged") == (["spool-3.sqlite.damaged"] if content else [])


def test_records_and_events_set_aside_are_distinguished(tmp_path: Path, kept: list[Record]) -> None:
    leave(tmp_path / "spool-0.db", kept, killed=True)

    rows = list(Reading(tmp_path / "spool-0.db").rows())

    assert rows[-1] == Refused(7, 1, "too long", kept[0].batch)

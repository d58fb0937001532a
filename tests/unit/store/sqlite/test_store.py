import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ingest.errors import StoreUnavailable
from ingest.store.sqlite.store import SQLiteStore, migrate
from tests.unit.fakes import FakeClock
from tests.unit.making import batch

LEASE_SECONDS = 30.0
TIMEOUT_SECONDS = 0.05


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "events.db"
    migrate(path)
    return path


@pytest.fixture
async def store(path: Path, clock: FakeClock) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path, TIMEOUT_SECONDS, clock.now_us)
    yield store
    await store.close()


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


async def commit(store: SQLiteStore, lease_seconds: float = LEASE_SECONDS) -> int:
    made = batch(1)
    await store.commit(made, lease_seconds=lease_seconds, settled=[])
    return made.first_id


async def test_entry_without_a_lease_is_claimed_in_the_same_millisecond(store: SQLiteStore) -> None:
    first_id = await commit(store, lease_seconds=0)

    assert await store.claim(1, LEASE_SECONDS) == [first_id]


async def test_lease_ends_at_its_time(store: SQLiteStore, clock: FakeClock) -> None:
    first_id = await commit(store)

    clock.advance(LEASE_SECONDS - 0.001)
    assert await store.claim(1, LEASE_SECONDS) == []
    clock.advance(0.001)
    assert await store.claim(1, LEASE_SECONDS) == [first_id]


async def test_every_commit_is_flushed(store: SQLiteStore, other: sqlite3.Connection) -> None:
    await commit(store)

    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert await store._run(lambda connection: connection.execute("PRAGMA synchronous").fetchone()) == (2,)


async def test_database_that_another_writer_holds_is_unavailable_until_it_lets_go(
    store: SQLiteStore, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await commit(store)
    other.execute("ROLLBACK")

    await commit(store)

    assert other.execute("SELECT COUNT(*) FROM call_event_logs").fetchone() == (1,)


async def test_full_database_is_unavailable_and_keeps_nothing_of_the_batch(
    store: SQLiteStore, other: sqlite3.Connection
) -> None:
    await store._run(lambda connection: connection.execute("PRAGMA max_page_count = 1"))  # the least that it has
    with pytest.raises(StoreUnavailable, match="full"):
        await store.commit(batch(500), lease_seconds=LEASE_SECONDS, settled=[])

    assert other.execute("SELECT COUNT(*) FROM call_event_logs").fetchone() == (0,)


async def test_file_that_is_no_database_is_unavailable(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "events.db").write_text("no database " * 100)
    store = SQLiteStore(tmp_path / "events.db", TIMEOUT_SECONDS, clock.now_us)

    with pytest.raises(StoreUnavailable, match="not a database"):
        await store.ping()
    await store.close()


async def test_folder_that_cannot_be_made_is_unavailable(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").touch()
    store = SQLiteStore(tmp_path / "file" / "events.db", TIMEOUT_SECONDS, clock.now_us)

    with pytest.raises(StoreUnavailable):
        await store.ping()
    await store.close()

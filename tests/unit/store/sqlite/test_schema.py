"""Which differences in the tables of a SQLite file are allowed, and which ones stop commits."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ingest.clock import unix_us
from ingest.errors import SchemaError
from ingest.store.sqlite.store import SQLiteStore, migrate
from tests.unit.making import batch

TIMEOUT_SECONDS = 5.0
EVENTS = "CREATE TABLE call_event_logs (id INTEGER PRIMARY KEY, call_id TEXT, event_type TEXT, payload JSON{})"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "events.db"
    migrate(made)
    return made


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)


async def store(path: Path) -> None:
    made = SQLiteStore(path, TIMEOUT_SECONDS, unix_us)
    try:
        await made.commit(batch(), lease_seconds=30, settled=())
        await made.ping()
    finally:
        await made.close()


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["DROP TABLE ingest_dead_letters"], "ingest_dead_letters is missing"),
        (["DROP TABLE call_event_logs", EVENTS.format("")], "created_time is missing"),
        (
            ["DROP TABLE call_event_logs", EVENTS.format(", created_time TEXT, owner TEXT NOT NULL")],
            "call_event_logs.owner is not this service's",
        ),
        (
            ["DROP TABLE call_event_logs", EVENTS.replace(" PRIMARY KEY", "").format(", created_time TEXT")],
            "id is not in the primary key",
        ),
        (["CREATE UNIQUE INDEX once ON call_event_logs (call_id)"], "DROP INDEX once"),
    ],
)
async def test_what_would_lose_or_refuse_events_stops_commits(path: Path, statements: list[str], said: str) -> None:
    change(path, *statements)

    with pytest.raises(SchemaError, match=said):
        await store(path)


async def test_additions_that_refuse_nothing_are_no_matter(path: Path) -> None:
    change(
        path,
        "ALTER TABLE call_event_logs ADD note TEXT",
        "ALTER TABLE call_event_logs ADD score INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX mine ON call_event_logs (created_time)",
        "DROP INDEX call_event_logs_call_id",
    )

    await store(path)

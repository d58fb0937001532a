"""Writes to the SQLite file as the service does, and rolls it back."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from ingest.cli.doctor.unused_id import unused_id
from ingest.clock import unix_us
from ingest.errors import StoreError
from ingest.server.file_owner import name_of
from ingest.settings import Settings
from ingest.sqlite import connect_read_only, file_of
from ingest.store.sqlite.store import INSERT_ENTRY, INSERT_EVENT
from ingest.store.sqlite.tables import utc_text

FIND = "SELECT call_id FROM call_event_logs WHERE id = ?"
LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


async def try_sqlite(settings: Settings) -> str:
    """Raises `StoreError` if the file does not take a row."""
    file = file_of(settings.database_url)
    if file is None or not file.exists():
        return "not tried: the database is not there yet"
    if (owner := file.stat().st_uid) != os.geteuid():
        return f"not tried: {file} belongs to {name_of(owner)}, and SQLite would leave files of another user"
    try:
        with closing(_first_reader(file)), closing(_writer(file, settings.commit_timeout_seconds)) as connection:
            _try_row(connection)
    except sqlite3.Error as exc:
        if str(exc).startswith("no such table"):
            return "not tried: the tables are missing or old"
        raise StoreError(f"{file} does not take a row: {exc}. {_hint(exc)}") from exc
    return "a row was inserted and rolled back"


def _first_reader(file: Path) -> sqlite3.Connection:
    """Hold the file, so that the writer is not the last one to close it: that one moves rows out of the WAL file."""
    connection = connect_read_only(file, 0)
    connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
    return connection


def _writer(file: Path, timeout_seconds: float) -> sqlite3.Connection:
    """Open for writing, but create no database."""
    uri = f"{file.resolve().as_uri()}?mode=rw"
    return sqlite3.connect(uri, timeout=timeout_seconds, isolation_level=None, uri=True)


def _try_row(connection: sqlite3.Connection) -> None:
    event_id = unused_id()
    connection.execute("BEGIN IMMEDIATE")
    try:
        now = utc_text(unix_us())
        connection.execute(INSERT_EVENT, (event_id, "ingest doctor", "doctor", "{}", now))
        connection.execute(INSERT_ENTRY, (event_id, 1, 0, b""))
        if connection.execute(FIND, (event_id,)).fetchone() is None:
            raise StoreError("The database does not return a row that was just inserted.")
    finally:
        if connection.in_transaction:  # SQLite rolls back by itself after some errors
            connection.execute("ROLLBACK")


def _hint(exc: sqlite3.Error) -> str:
    if getattr(exc, "sqlite_errorcode", None) in LOCKED:
        return "Another process has kept its lock: end it, such as a shell of sqlite3 in a transaction."
    return "Check the rights of the file and its folder, and the free space of its disk."

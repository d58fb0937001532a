"""Databases for simulations, migrated or empty."""

from collections.abc import Coroutine
from functools import cache
from typing import Any

from ingest.store.migrations import migrations, newest_version, split_statements, sql_folder
from ingest.store.mysql.migrate import MIGRATIONS_TABLE
from tests.simulation.chance import SeededChance
from tests.simulation.mysql.server import Server
from tests.simulation.mysql.session import Session
from tests.simulation.mysql.sql.context import Row
from tests.simulation.mysql.sql.shape import statements_of
from tests.simulation.mysql.storage.database import Database

NAME = "ingest"


def empty_database() -> Database:
    return Database(NAME)


def migrated_database(mariadb: bool = True) -> Database:
    """A database with the tables of this release. It is made once in a process, and copied then."""
    return _migrated(mariadb).copy()


@cache
def _migrated(mariadb: bool) -> Database:
    database = empty_database()
    server = Server(database, lambda: 0, SeededChance(0), mariadb=mariadb)
    execute(server, MIGRATIONS_TABLE)
    for statement in split_statements((sql_folder("mysql") / "schema.sql").read_text("utf-8")):
        execute(server, statement.encode())
    for migration in migrations("mysql"):
        execute(
            server,
            b"INSERT INTO ingest_migrations (version, name, applied_time) VALUES (%d, '%b', UTC_TIMESTAMP(6))"
            % (migration.version, migration.name.encode()),
        )
    assert migration.version == newest_version("mysql")
    return database


def execute(server: Server, sql: bytes) -> list[Row]:
    """Execute statements at once, on a session of their own. Return the rows of the last one.

    Raises the driver's error, and RuntimeError if they must wait for a lock.
    """
    session = Session(server, 0)
    rows: list[Row] = []
    try:
        for statement in statements_of(sql):
            result = _at_once(session.execute(statement))
            rows = (result[0] if result else None) or []
    finally:
        session.end()
    return rows


def _at_once(coroutine: "Coroutine[Any, Any, Any]") -> Any:
    try:
        coroutine.send(None)
    except StopIteration as exc:
        return exc.value
    coroutine.close()
    raise RuntimeError("The statement waits for a lock.")

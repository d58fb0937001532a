"""Compares the tables of a SQLite file with those of this version, before the first event is stored."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache

from ingest.errors import SchemaError
from ingest.store.migrations import sql_folder

TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
COLUMNS = 'SELECT name, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)'
UNIQUE = "SELECT name FROM pragma_index_list(?) WHERE \"unique\" AND origin <> 'pk'"
INDEXED = "SELECT name FROM pragma_index_info(?)"

Columns = dict[str, tuple[bool, bool, int, bool]]
"""By name: is NULL refused, is there a default, the place in the primary key (from 1, or 0), is it computed."""


def check_tables(connection: sqlite3.Connection) -> None:
    """Raises `SchemaError` if an event would be refused, or a promise broken. Other additions are allowed."""
    if found := [text for table, columns in _expected().items() for text in _differences(connection, table, columns)]:
        raise SchemaError(f"The tables are not those this version needs: {' '.join(found)}")


@cache
def _expected() -> dict[str, Columns]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript((sql_folder("sqlite") / "schema.sql").read_text("utf-8"))
        return {name: _columns(connection, name) for (name,) in connection.execute(TABLES)}


def _columns(connection: sqlite3.Connection, table: str) -> Columns:
    rows = connection.execute(COLUMNS, (table,))
    return {
        name: (bool(required), default is not None, pk, bool(hidden)) for name, required, default, pk, hidden in rows
    }


def _differences(connection: sqlite3.Connection, table: str, expected: Columns) -> Iterator[str]:
    there = _columns(connection, table)
    if not there:
        yield f"{table} is missing: run `ingest migrate`. If it is still missing, move the file away first."
        return
    for name, (required, default, place, _) in expected.items():
        if name not in there:
            yield f"{table}.{name} is missing."
        elif there[name][3]:
            yield f"{table}.{name} is computed, so no event can be stored."
        elif there[name][2] != place:
            yield f"{table}.{name} is not in the primary key as required."
        elif there[name][0] and not required:
            yield f"{table}.{name} is NOT NULL, and must take NULL."
        elif there[name][0] and default and not there[name][1]:
            yield f"{table}.{name} has no default."
    for name, (required, default, place, computed) in there.items():
        if name not in expected and (place or (required and not default and not computed)):
            yield f"{table}.{name} is not this service's, and every row needs a value: give it a default."
    yield from _refusing(connection, table, {name for name, column in expected.items() if column[2]})


def _refusing(connection: sqlite3.Connection, table: str, key: set[str]) -> Iterator[str]:
    for (index,) in connection.execute(UNIQUE, (table,)).fetchall():
        columns = {name for (name,) in connection.execute(INDEXED, (index,))}
        if not key <= columns:
            yield f"Index {index} of {table} refuses an event with the same values as another: DROP INDEX {index}."

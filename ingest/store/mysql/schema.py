"""Compares the tables of a MySQL or MariaDB database with those of this version: at `migrate`, `doctor` and start."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from ingest.errors import SchemaError, StoreError
from ingest.retention.partitions import check_partitions, disagreement, first_disagreeing
from ingest.store.migrations import newest_version
from ingest.store.mysql.connection import Connection, Row
from ingest.store.mysql.laravel.tables import table as table_of
from ingest.store.mysql.laravel.tables import unfinished_adoption
from ingest.store.mysql.partitioning.partitions import partitions_of, sampled
from ingest.store.mysql.partitioning.unfinished import EVENTS, unfinished
from ingest.store.schema_differences import Difference, compare
from ingest.store.table_shapes import Column, Index, TableShape, expected_tables

VERSION = b"SELECT COALESCE(MAX(version), 0) FROM ingest_migrations"
NUMBERED = (
    "{} Retention would drop its events on the wrong day. Keep them apart: RENAME TABLE call_event_logs TO "
    "call_event_logs_before; then run `ingest migrate`"
)
LARAVELS = (
    "call_event_logs is the table of the Laravel original. `ingest adopt` says what would be moved, and with --run it "
    "moves it. Until then the service keeps events in its spool."
)
TABLES = """SELECT t.TABLE_NAME, t.TABLE_TYPE, t.ENGINE, t.ROW_FORMAT, e.TRANSACTIONS
    FROM information_schema.TABLES AS t LEFT JOIN information_schema.ENGINES AS e ON e.ENGINE = t.ENGINE
    WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_NAME IN ({})"""
COLUMNS = """SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, CHARACTER_SET_NAME,
    COLLATION_NAME, EXTRA, GENERATION_EXPRESSION FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({}) ORDER BY TABLE_NAME, ORDINAL_POSITION"""
INDEXES = """SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, NON_UNIQUE FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({}) ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"""
TRIGGERS = """SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS
    WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE IN ({})"""
FOREIGN_KEYS = """SELECT TABLE_NAME, REFERENCED_TABLE_NAME, CONSTRAINT_NAME
    FROM information_schema.REFERENTIAL_CONSTRAINTS
    WHERE CONSTRAINT_SCHEMA = DATABASE() AND (TABLE_NAME IN ({0}) OR REFERENCED_TABLE_NAME IN ({0}))"""
CHECKS_OF_MYSQL = """SELECT t.TABLE_NAME, t.CONSTRAINT_NAME, c.CHECK_CLAUSE
    FROM information_schema.TABLE_CONSTRAINTS AS t
    JOIN information_schema.CHECK_CONSTRAINTS AS c USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME)
    WHERE t.CONSTRAINT_SCHEMA = DATABASE() AND t.TABLE_NAME IN ({}) AND t.ENFORCED = 'YES'"""
CHECKS_OF_MARIADB = """SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS
    WHERE CONSTRAINT_SCHEMA = DATABASE() AND TABLE_NAME IN ({})"""
FLAVOUR = b"SELECT VERSION() LIKE '%MariaDB%', EXISTS (SELECT 1 FROM information_schema.TABLES \
WHERE TABLE_SCHEMA = 'information_schema' AND TABLE_NAME = 'CHECK_CONSTRAINTS')"


class Report(msgspec.Struct, frozen=True):
    """Differences, as texts for operators.

    `stops` would lose or refuse events, `unfinished` are interrupted changes, `costs` only cost something.
    """

    stops: Sequence[str] = ()
    unfinished: Sequence[str] = ()
    costs: Sequence[str] = ()

    def raise_for_stops(self) -> None:
        """Raises `SchemaError`."""
        if self.stops:
            raise SchemaError(f"The tables are not those this version needs: {' '.join(self.stops)}")


async def examined(connection: Connection) -> Report:
    """Raises `StoreError`, and `SchemaError` if migrations are missing."""
    await check_version(connection)
    interrupted = [*await unfinished(connection), *await unfinished_adoption(connection)]
    expected = expected_tables()
    original = await table_of(connection, EVENTS)
    there = await _tables(connection, [table.name for table in expected])
    found = [Difference(True, LARAVELS)] if original and original.is_laravels else []
    found += await _of_rows(connection, there.get(EVENTS.decode()))
    found += [one for table in expected for one in compare(table, there.get(table.name))]
    stops, costs = (tuple(_ended(one.text) for one in found if one.stops == stops) for stops in (True, False))
    return Report(stops, tuple(interrupted), costs)


async def check_version(connection: Connection) -> None:
    """Raises `SchemaError` if migrations are missing."""
    try:
        version = int((await connection.run(VERSION))[0][0])
    except SchemaError as exc:
        raise SchemaError from exc
    if version < newest_version("mysql"):
        raise SchemaError


async def _of_rows(connection: Connection, events: TableShape | None) -> list[Difference]:
    """Check ids in some rows of the events' table, and its partitions."""
    if events is None or not {"id", "created_time"} <= events.columns.keys():
        return []
    rows = await sampled(connection, EVENTS)
    if (row := first_disagreeing(rows[-1:]) or first_disagreeing(rows)) is None:
        return [Difference(False, text) for text in await _odd_partitions(connection)]
    text = NUMBERED.format(disagreement(row, EVENTS.decode()))
    return [Difference(row == rows[-1], text)]


async def _odd_partitions(connection: Connection) -> Iterator[str]:
    try:
        if partitions := await partitions_of(connection):
            check_partitions(partitions)
    except StoreError as exc:
        return iter([str(exc)])
    return iter(())


async def _tables(connection: Connection, names: Sequence[str]) -> dict[str, TableShape]:
    """The existing tables, by name."""
    columns = _grouped(await _asked(connection, COLUMNS, names))
    indexes = {table: _indexes(rows) for table, rows in _grouped(await _asked(connection, INDEXES, names)).items()}
    attached = await _attached(connection, names)
    found = {}
    for name, kind, engine, row_format, transactional in await _asked(connection, TABLES, names):
        keys = indexes.get(name, [])
        found[name] = TableShape(
            name,
            {column.name: column for column in map(_column, columns[name])},
            next((index.columns for index in keys if index.name == "PRIMARY"), ()),
            [index for index in keys if index.name != "PRIMARY"],
            engine or kind,
            transactional == "YES",
            row_format or "",
            attached[name],
        )
    return found


async def _attached(connection: Connection, names: Sequence[str]) -> dict[str, list[tuple[bool, str]]]:
    """Triggers, foreign keys and checks, by table. The flag says if one may refuse events."""
    found: dict[str, list[tuple[bool, str]]] = defaultdict(list)
    for table, trigger in await _asked(connection, TRIGGERS, names):
        found[table].append((False, f"trigger {trigger}: if it fails, so does the event."))
    for table, referenced, key in await _asked(connection, FOREIGN_KEYS, names):
        if table in names:
            text = f"foreign key {key}: it refuses events. ALTER TABLE {table} DROP FOREIGN KEY {key}"
            found[table].append((True, text))
        else:
            found[referenced].append((False, f"foreign key {key} of {table} on it: it cannot be partitioned."))
    for table, check, clause in await _checks(connection, names):
        if "json_valid" not in clause.lower():
            text = f"CHECK {check} {clause}: it refuses events. ALTER TABLE {table} DROP CONSTRAINT {check}"
            found[table].append((True, text))
    return found


async def _checks(connection: Connection, names: Sequence[str]) -> list[Row]:
    is_mariadb, has_checks = (await connection.run(FLAVOUR))[0]
    if not has_checks:
        return []  # MySQL before 8.0.16 has none
    return await _asked(connection, CHECKS_OF_MARIADB if is_mariadb else CHECKS_OF_MYSQL, names)


async def _asked(connection: Connection, question: str, names: Sequence[str]) -> list[Row]:
    listed = ",".join(f"'{name}'" for name in names)
    return [tuple(map(_text, row)) for row in await connection.run(question.format(listed).encode())]


def _text(value: object) -> object:
    """MySQL returns some texts of information_schema as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for table, *rest in rows:
        found[table].append(tuple(rest))
    return found


def _column(row: Row) -> Column:
    name, kind, nullable, default, charset, collation, extra, expression = row
    return Column(
        name,
        kind,
        nullable == "YES",
        has_default=default is not None or "DEFAULT_GENERATED" in extra,
        charset=charset,
        collation=collation,
        generated=bool(expression),
        counted="auto_increment" in extra.lower(),
    )


def _indexes(rows: Sequence[Row]) -> list[Index]:
    columns: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for name, column, non_unique in rows:
        columns[name, not non_unique].append(column or "(expression)")
    return [Index(name, found, unique) for (name, unique), found in columns.items()]


def _ended(text: str) -> str:
    """The text with an end: a statement at the end needs a semicolon."""
    return text if text.endswith((".", ";")) else f"{text};"

"""`ingest migrate`: migrations make the same schema as schema.sql, also if several run or run again."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.errors import StoreError
from ingest.store.migrations import migrations, newest_version, split_statements, sql_folder
from ingest.store.mysql import migrate
from ingest.store.mysql.pool import Servers
from tests.commands import told
from tests.contract.store.stores import TIMEOUT_SECONDS, Database, MySQL, Row, SQLite
from tests.services import MySQLServer

AT_ONCE = 3
OF_SQLITE = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE tbl_name <> 'ingest_migrations' ORDER BY type, name"
)
OF_MYSQL = (
    "SELECT table_name, engine, table_collation FROM information_schema.tables WHERE {} ORDER BY 1",
    "SELECT table_name, column_name, ordinal_position, column_type, is_nullable, column_default, collation_name, "
    "column_key, extra FROM information_schema.columns WHERE {} ORDER BY 1, 3",
    "SELECT table_name, index_name, non_unique, seq_in_index, column_name, index_type "
    "FROM information_schema.statistics WHERE {} ORDER BY 1, 2, 4",
)
HERE = "table_schema = DATABASE() AND table_name <> 'ingest_migrations'"


@pytest.fixture(params=["sqlite", pytest.param("mysql", marks=pytest.mark.servers)])
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return SQLite(tmp_path) if dialect == "sqlite" else MySQL(request.getfixturevalue("mysql"))


@pytest.fixture
def other_database(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return SQLite(tmp_path / "other") if dialect == "sqlite" else MySQL(request.getfixturevalue("mysql"))


def schema_of(database: Database) -> list[list[Row]]:
    if isinstance(database, SQLite):
        return [[tuple(_without_blanks(str(text)) for text in row) for row in database.query(OF_SQLITE)]]
    return [database.query(question.format(HERE)) for question in OF_MYSQL]


def _without_blanks(text: str) -> str:
    """SQLite keeps statements as written, and adds columns after the last blank."""
    return re.sub(r"\s*([,()])\s*", r"\1", " ".join(text.split()))


def apply_schema_file(database: Database, dialect: str) -> None:
    if isinstance(database, SQLite):
        database.path.parent.mkdir()
    for statement in split_statements((sql_folder(dialect) / "schema.sql").read_text()):
        database.query(statement)


async def test_all_migrations_add_up_to_the_schema_file(
    database: Database, other_database: Database, dialect: str
) -> None:
    await database.migrate()
    apply_schema_file(other_database, dialect)

    schema = schema_of(database)

    assert schema == schema_of(other_database)
    assert "call_event_logs" in str(schema)


async def test_migrations_are_noted(database: Database, dialect: str) -> None:
    await database.migrate()

    noted = database.query("SELECT version, name FROM ingest_migrations ORDER BY version")

    assert noted == [(migration.version, migration.name) for migration in migrations(dialect)]
    assert noted[-1][0] == newest_version(dialect)


async def test_migrating_again_changes_nothing(database: Database) -> None:
    await database.migrate()
    before = schema_of(database), database.query("SELECT * FROM ingest_migrations")

    await database.migrate()

    assert (schema_of(database), database.query("SELECT * FROM ingest_migrations")) == before


async def test_migration_that_was_cut_off_before_it_was_noted_is_finished(mysql: MySQLServer) -> None:
    database = MySQL(mysql)  # SQLite runs all migrations in one transaction
    await database.migrate()
    before = schema_of(database)
    database.query("DELETE FROM ingest_migrations WHERE version > 1")

    await database.migrate()

    assert schema_of(database) == before


async def test_rows_are_kept(database: Database) -> None:
    await database.migrate()
    database.query("INSERT INTO call_event_logs VALUES (1, 'call-1', 'call_started', '{}', '2025-01-01')")

    await database.migrate()

    assert database.call_ids() == ["call-1"]


def test_of_several_at_once_one_migrates_and_the_others_find_nothing_to_do(database: Database, tmp_path: Path) -> None:
    processes = [migrate_process(database, tmp_path) for _ in range(AT_ONCE)]

    said = [told(process.communicate(timeout=60)[0]) for process in processes]

    applied = "".join(f"applied {migration.name}\n" for migration in migrations("mysql"))
    assert sorted(said) == [applied] + ["the schema is up to date\n"] * (AT_ONCE - 1)


def migrate_process(database: Database, folder: Path) -> "subprocess.Popen[str]":
    url = f"sqlite:///{database.path}" if isinstance(database, SQLite) else getattr(database, "url", "")
    settings = {"INGEST_DATABASE_URL": url, "INGEST_API_TOKENS": "any", "INGEST_DATA_DIR": str(folder / "var")}
    return subprocess.Popen(
        [sys.executable, "-m", "ingest", "migrate"],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def test_failed_migration_on_sqlite_leaves_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    database = SQLite(tmp_path)
    database.query("CREATE TABLE ingest_slots (in_the_way INTEGER)")

    with pytest.raises(StoreError, match=r"run `ingest migrate` again \(table ingest_slots already exists\)"):
        await database.migrate()

    assert database.query("SELECT name FROM sqlite_master") == [("ingest_slots",)]
    database.query("DROP TABLE ingest_slots")
    await database.migrate()


async def test_failed_migration_on_mysql_says_where_and_can_be_finished(mysql: MySQLServer) -> None:
    database, complete = MySQL(mysql), MySQL(mysql)
    await complete.migrate()
    url = user_who_may_create(database, "ingest_migrations", "call_event_logs")

    with pytest.raises(StoreError, match=r"0001 stopped at: CREATE TABLE IF NOT EXISTS ingest_outbox .*CREATE command"):
        await migrate.migrate(Servers.parse(url), TIMEOUT_SECONDS)
    assert database.query("SHOW TABLES") == [("call_event_logs",), ("ingest_migrations",)]
    assert database.query("SELECT * FROM ingest_migrations") == []

    await database.migrate()

    assert schema_of(database) == schema_of(complete)


async def test_user_without_the_right_to_create_tables_gets_that_error(mysql: MySQLServer) -> None:
    url = user_who_may_create(MySQL(mysql), "another_table")

    with pytest.raises(StoreError, match="CREATE command denied to user"):
        await migrate.migrate(Servers.parse(url), TIMEOUT_SECONDS)


def user_who_may_create(database: MySQL, *tables: str) -> str:
    """URL of a user with rights on these tables only."""
    name, password = database.server.fresh_user()
    database.query(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{name}'@'%'")
    for table in tables:
        database.query(f"GRANT CREATE, SELECT, INSERT ON {database.name}.{table} TO '{name}'@'%'")
    return database.server.url_of(database.name, name, password)

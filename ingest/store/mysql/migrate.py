"""`ingest migrate` on MySQL and MariaDB: applies the numbered migrations under a lock. It is safe to run again."""

from ingest.errors import StoreError
from ingest.store.migrations import Migration, migrations
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.partitioning.unfinished import check_whole, existing
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.schema import VERSION, Report, examined
from ingest.store.mysql.statements.literals import quoted
from ingest.store.table_shapes import statements

LOCK = b"SELECT GET_LOCK(CONCAT('ingest migrate ', LEFT(SHA2(DATABASE(), 256), 32)), %d)"
LOCK_SECONDS = 60
MIGRATIONS_TABLE = b"""CREATE TABLE IF NOT EXISTS ingest_migrations (
    version INT NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL, applied_time DATETIME(6) NOT NULL)
    ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"""
RECORD = b"INSERT INTO ingest_migrations (version, name, applied_time) VALUES (%d, %s, UTC_TIMESTAMP(6))"

DONE_ALREADY = {1050, 1060, 1061}
"""Error numbers: the table, column or index exists already. MySQL does not roll back DDL of a failed migration."""


async def migrate(servers: Servers, connect_timeout_seconds: float) -> list[str]:
    """Bring the database to this release's schema. Return the names of the migrations applied now.

    A second process waits for the first (at most `LOCK_SECONDS`), and then finds nothing to do. Raises `StoreError`.
    """
    connection = await servers.connect(connect_timeout_seconds)
    try:
        if (await connection.run(LOCK % LOCK_SECONDS))[0][0] != 1:
            raise StoreError(f"Another migration has been running for {LOCK_SECONDS} s: look at it first.")
        await check_whole(connection)
        return [*await _apply_due(connection), *await _make_missing(connection)]
    finally:
        await connection.end()  # releases the lock too


async def _apply_due(connection: Connection) -> list[str]:
    await connection.run(MIGRATIONS_TABLE)
    done = (await connection.run(VERSION))[0][0]
    due = [migration for migration in migrations("mysql") if migration.version > done]
    for migration in due:
        await _apply(connection, migration)
    return [migration.name for migration in due]


async def _make_missing(connection: Connection) -> list[str]:
    """Create tables that somebody renamed or dropped after their migration. Return their names."""
    missing = [table for table in statements() if not await existing(connection, table.encode())]
    for table in missing:
        await connection.run(statements()[table].encode())
    return [f"{table}, which was missing" for table in missing]


async def _apply(connection: Connection, migration: Migration) -> None:
    for statement in migration.statements:
        try:
            await connection.run(statement.encode())
        except StoreError as exc:
            if _number_of(exc) in DONE_ALREADY:
                continue  # by a run that was killed before it recorded the migration; the schema is compared later
            raise StoreError(
                f"Migration {migration.version:04} stopped at: {statement.splitlines()[0]} ({exc}) "
                "The statements before it are kept. Fix the cause and run `ingest migrate` again."
            ) from exc
    await connection.run(RECORD % (migration.version, quoted(migration.name.encode())))


def _number_of(exc: StoreError) -> object:
    """The server's error number."""
    return exc.__cause__.args[0] if exc.__cause__ and exc.__cause__.args else None


async def examine(servers: Servers, connect_timeout_seconds: float) -> Report:
    """Compare the tables with those of this release. Raises `StoreError`."""
    connection = await servers.connect(connect_timeout_seconds)
    try:
        return await examined(connection)
    finally:
        await connection.end()

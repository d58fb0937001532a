"""`ingest migrate` on MySQL and MariaDB: numbered migrations under a lock, safe to run again."""

from ingest.errors import StoreError
from ingest.store.migrations import Migration, migrations
from ingest.store.mysql_connection import Connection
from ingest.store.mysql_pool import Servers
from ingest.store.mysql_statements import VERSION, quoted
from ingest.store.mysql_unfinished import check_whole

LOCK = b"SELECT GET_LOCK(CONCAT('ingest migrate ', LEFT(SHA2(DATABASE(), 256), 32)), %d)"
LOCK_SECONDS = 60
MIGRATIONS_TABLE = b"""CREATE TABLE IF NOT EXISTS ingest_migrations (
    version INT NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL, applied_time DATETIME(6) NOT NULL)
    ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"""
RECORD = b"INSERT INTO ingest_migrations (version, name, applied_time) VALUES (%d, %s, UTC_TIMESTAMP(6))"


async def migrate(servers: Servers, connect_timeout_seconds: float) -> list[str]:
    """Bring the database to this release's schema; the names of the migrations applied now.

    Two at once: the second waits for the first (at most `LOCK_SECONDS`) and finds nothing to do.
    """
    connection = await servers.connect(connect_timeout_seconds)
    try:
        if (await connection.run(LOCK % LOCK_SECONDS))[0][0] != 1:
            raise StoreError(f"Another migration has been running for {LOCK_SECONDS} s; look at it first.")
        await check_whole(connection)
        return await _apply_due(connection)
    finally:
        await connection.end()  # releases the lock too


async def _apply_due(connection: Connection) -> list[str]:
    await connection.run(MIGRATIONS_TABLE)
    done = (await connection.run(VERSION))[0][0]
    due = [migration for migration in migrations("mysql") if migration.version > done]
    for migration in due:
        await _apply(connection, migration)
    return [migration.name for migration in due]


async def _apply(connection: Connection, migration: Migration) -> None:
    for statement in migration.statements:
        try:
            await connection.run(statement.encode())
        except StoreError as exc:
            raise StoreError(
                f"Migration {migration.version:04} stopped at: {statement.splitlines()[0]} ({exc}) "
                "What came before it is kept; mend the cause and run `ingest migrate` again."
            ) from exc
    await connection.run(RECORD % (migration.version, quoted(migration.name.encode())))

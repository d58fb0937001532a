"""One hostile server setting at a time; `tests.contract.store.hostile` has all others at once."""

from collections.abc import Iterator

import pytest

from ingest.auth.tokens import Token
from ingest.errors import StoreUnavailable
from ingest.store.migrations import newest_version
from tests.contract.store.hostile import HostileMySQL, make
from tests.contract.store.stores import opened
from tests.services import MySQLServer
from tests.unit.making import NOW_US, batch

LEASE_SECONDS = 30.0
TOKEN = Token(b"a" * 32, "pbx", NOW_US)
SETTINGS = [
    ("completion_type", "'RELEASE'"),
    ("autocommit", "0"),
    ("init_connect", "'BEGIN'"),
    ("init_connect", "'SET TRANSACTION READ ONLY'"),
    ("init_connect", "'USE information_schema'"),
]


@pytest.fixture
def setting(hostile_mysql: MySQLServer, request: pytest.FixtureRequest) -> Iterator[None]:
    """One global variable of the server has another value while the test runs."""
    variable, value = request.param
    before = hostile_mysql.query(f"SELECT @@GLOBAL.{variable}")[0][0]
    make(hostile_mysql, variable, value)
    yield
    make(hostile_mysql, variable, f"'{before}'" if isinstance(before, str) else str(before))


@pytest.mark.usefixtures("setting")
@pytest.mark.parametrize("setting", SETTINGS, indirect=True, ids="=".join)
async def test_what_was_acknowledged_is_there(hostile_mysql: MySQLServer) -> None:
    database, made = HostileMySQL(hostile_mysql), batch(2)

    await database.migrate()
    async with opened(database.store()) as (store,):
        await store.add_token(TOKEN)
        await store.commit(made, lease_seconds=LEASE_SECONDS, settled=[])
        await store.settle([made.first_id])
        lease = await store.lease_slot("node", "life", LEASE_SECONDS)

    assert database.query("SELECT MAX(version) FROM ingest_migrations") == [(newest_version("mysql"),)]
    assert database.query("SELECT name FROM ingest_tokens") == [(TOKEN.name,)]
    assert [row[0] for row in database.rows()] == made.ids
    assert database.entries() == []
    assert database.query("SELECT slot FROM ingest_slots") == [(lease.slot,)]


@pytest.mark.usefixtures("setting")
@pytest.mark.parametrize("setting", [("binlog_format", "'STATEMENT'")], indirect=True, ids="=".join)
async def test_server_that_logs_statements_is_recognized(hostile_mysql: MySQLServer) -> None:
    database = HostileMySQL(hostile_mysql)

    with pytest.raises(StoreUnavailable, match=r"binlog_format = STATEMENT.* Set it to ROW or MIXED"):
        await database.migrate()

    hostile_mysql.query(f"GRANT SUPER ON *.* TO '{hostile_mysql.user}'@'%'")
    try:
        await database.migrate()
        async with opened(database.store()) as (store,):
            await store.commit(batch(2), lease_seconds=LEASE_SECONDS, settled=[])
    finally:
        hostile_mysql.query(f"REVOKE SUPER ON *.* FROM '{hostile_mysql.user}'@'%'")
    assert len(database.rows()) == 2


async def test_tables_are_of_innodb_whatever_is_the_default(hostile_mysql: MySQLServer) -> None:
    database = HostileMySQL(hostile_mysql)
    await database.migrate()

    kinds = database.query(
        "SELECT DISTINCT ENGINE, ROW_FORMAT, TABLE_COLLATION FROM information_schema.TABLES "
        f"WHERE TABLE_SCHEMA = '{database.name}'"
    )

    assert kinds == [("InnoDB", "Dynamic", "utf8mb4_bin")]

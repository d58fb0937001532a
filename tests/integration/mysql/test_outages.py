"""The MySQL store while its server is frozen, killed, full, or read-only, and afterwards."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TypeVar
from urllib.parse import urlsplit

import pymysql
import pytest

from ingest.errors import BatchRefused, StoreUnavailable
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.store.event_query import EventFilter
from ingest.store.mysql.address import Address
from ingest.store.mysql.connection import Connection, connect_over_network
from ingest.store.mysql.store import MySQLStore
from tests.contract.store.stores import TIMEOUT_SECONDS, MySQL, opened
from tests.services import MySQLServer, mysql_server
from tests.unit.making import NOW_US, batch

T = TypeVar("T")
LEASE_SECONDS = 30.0
DEADLINE_SECONDS = 1.0
WORKS_SECONDS = 60.0
CONNECTIONS = 8
"""More than the tries of a commit: after a restart it must not fail on one stale connection after another."""
SERVER_CONNECTIONS = 10
PACKET_BYTES = 1 << 20


@pytest.fixture(scope="module")
def own_mysql() -> Iterator[MySQLServer]:
    """A server of its own, not the shared one."""
    with mysql_server() as server:
        if not server.controllable:
            pytest.skip("INGEST_TEST_MYSQL_URL names a server that tests may not kill")
        yield server


@pytest.fixture
async def database(own_mysql: MySQLServer) -> MySQL:
    database = MySQL(own_mysql)
    await database.migrate()
    return database


@pytest.fixture
async def store(database: MySQL) -> AsyncIterator[MySQLStore]:
    store = database.store(connections_max=CONNECTIONS)
    async with opened(store):
        yield store


@pytest.fixture
async def hasty_store(database: MySQL) -> AsyncIterator[MySQLStore]:
    """A store with a short deadline."""
    store = database.store(commit_timeout_seconds=DEADLINE_SECONDS)
    async with opened(store):
        yield store


@contextmanager
def frozen(server: MySQLServer) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@contextmanager
def with_variable(database: MySQL, name: str, value: str) -> Iterator[None]:
    """A global variable of the server has this value inside the block."""
    ((before,),) = database.query(f"SELECT @@GLOBAL.{name}")
    database.query(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        database.query(f"SET GLOBAL {name} = {before!r}")


def plain_user(database: MySQL) -> str:
    """URL of a user with only the rights that the service needs."""
    name, password = database.server.fresh_user()
    database.query(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{name}'@'%'")
    database.query(f"GRANT ALL PRIVILEGES ON {database.name}.* TO '{name}'@'%'")
    return database.server.url_of(database.name, name, password)


async def commit(store: MySQLStore, made: Batch) -> None:
    await store.commit(made, lease_seconds=LEASE_SECONDS, settled=[])


async def works(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call with the short deadline, which a busy machine may miss, until it succeeds."""
    async with asyncio.timeout(WORKS_SECONDS):
        while True:
            with suppress(StoreUnavailable):
                return await call()


async def use_all_connections(store: MySQLStore) -> None:
    await asyncio.gather(*(commit(store, batch(1, slot=100 + number)) for number in range(CONNECTIONS)))


@pytest.mark.parametrize("connected", [True, False])
async def test_frozen_server_fails_a_commit_at_its_deadline(
    hasty_store: MySQLStore, database: MySQL, connected: bool
) -> None:
    if connected:
        await works(lambda: commit(hasty_store, batch(1, slot=2)))

    with (
        frozen(database.server),
        pytest.raises(StoreUnavailable, match=rf"did not answer within {DEADLINE_SECONDS:g} s"),
    ):
        await commit(hasty_store, batch(1))


@pytest.mark.parametrize("scan", ["count", "read"])
async def test_scan_of_the_table_may_take_longer_than_a_commit(
    hasty_store: MySQLStore, database: MySQL, scan: str
) -> None:
    await works(lambda: commit(hasty_store, batch(3)))
    await works(lambda: hasty_store.count_events(EventFilter()))

    with frozen(database.server):
        found = asyncio.create_task(events_found(hasty_store, scan))
        await asyncio.wait([found], timeout=2 * DEADLINE_SECONDS)
        assert not found.done()

    assert await found == 3


async def events_found(store: MySQLStore, scan: str) -> int:
    return (
        await store.count_events(EventFilter()) if scan == "count" else len(await store.read_events(EventFilter(), 10))
    )


async def test_commit_that_a_frozen_server_left_open_is_made_once(hasty_store: MySQLStore, database: MySQL) -> None:
    await works(hasty_store.ping)
    with frozen(database.server), pytest.raises(StoreUnavailable):
        await commit(hasty_store, batch(2))

    store = database.store()
    async with opened(store):
        await commit(store, batch(2))

    assert [row[0] for row in database.rows()] == list(batch(2).ids)
    assert [row[0] for row in database.entries()] == [batch(2).first_id]


async def test_frozen_server_fails_every_call_at_its_deadline(hasty_store: MySQLStore, database: MySQL) -> None:
    await works(hasty_store.ping)
    with frozen(database.server):
        for call in (
            hasty_store.ping(),
            hasty_store.settle([1]),
            hasty_store.claim(1, LEASE_SECONDS),
            hasty_store.read([1]),
            hasty_store.backlog(),
            hasty_store.lease_slot("node", "life", LEASE_SECONDS),
        ):
            with pytest.raises(StoreUnavailable):
                await call
    await works(hasty_store.ping)


async def test_backlog_that_takes_long_delays_no_other_call(store: MySQLStore, database: MySQL) -> None:
    await commit(store, batch(1))
    with closing(database.session()) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLES ingest_dead_letters WRITE")
        counting = asyncio.create_task(store.count_dead())
        waiting = f"SELECT 1 FROM information_schema.PROCESSLIST WHERE DB = '{database.name}' AND STATE LIKE 'Waiting%'"
        while not await asyncio.to_thread(database.query, waiting):
            assert not counting.done()

        await store.ping()
        await store.settle([batch(1).first_id])

        assert not counting.done()
        cursor.execute("UNLOCK TABLES")
    assert await counting == 0


async def test_killed_server_is_unavailable_and_used_again_when_it_is_back(store: MySQLStore, database: MySQL) -> None:
    await use_all_connections(store)
    database.server.kill()
    try:
        with pytest.raises(StoreUnavailable, match="Can't connect"):
            await commit(store, batch(1))
    finally:
        database.server.start()

    await commit(store, batch(1))

    assert len(database.rows()) == CONNECTIONS + 1


async def test_commit_after_a_restart_succeeds_although_all_connections_are_stale(
    store: MySQLStore, database: MySQL
) -> None:
    await use_all_connections(store)
    database.server.restart()

    await commit(store, batch(1))

    assert len(database.rows()) == CONNECTIONS + 1


async def test_read_only_server_is_unavailable_until_it_can_be_written(database: MySQL) -> None:
    store = database.store(plain_user(database))
    async with opened(store):
        with with_variable(database, "read_only", "ON"), pytest.raises(StoreUnavailable, match="read-only"):
            await commit(store, batch(1))

        await commit(store, batch(1))

    assert len(database.rows()) == 1


async def test_server_without_a_free_connection_is_unavailable_until_it_has_one(database: MySQL) -> None:
    url = plain_user(database)
    store = database.store(url)
    async with opened(store):
        with with_variable(database, "max_connections", str(SERVER_CONNECTIONS)), ExitStack() as stack:
            while connected(database, url, stack):
                pass
            with pytest.raises(StoreUnavailable, match="Too many connections"):
                await commit(store, batch(1))

        await commit(store, batch(1))


def connected(database: MySQL, url: str, stack: ExitStack) -> bool:
    try:
        stack.enter_context(closing(database.session(url)))
    except pymysql.OperationalError:
        return False
    return True


async def test_of_several_hosts_one_that_takes_no_writes_is_passed_over(
    database: MySQL, own_mysql: MySQLServer, mysql: MySQLServer
) -> None:
    other = MySQL(mysql)
    await other.migrate()
    own_mysql.query(f"CREATE DATABASE {other.name}")
    hosts = f"{database.url.rpartition('/')[0]},{urlsplit(other.url).netloc.rpartition('@')[2]}/{other.name}"
    store = other.store(hosts)
    async with opened(store):
        with with_variable(database, "read_only", "1"):
            await commit(store, batch(1))
        await commit(store, batch(1, us=NOW_US + 1000))  # it stays on this host
    assert len(other.rows()) == 2


async def test_if_no_host_takes_writes_the_last_hosts_reason_is_given(database: MySQL) -> None:
    host = urlsplit(database.url).netloc.rpartition("@")[2]
    url = database.url.replace(host, f"{host},{host}")
    async with opened(database.store(url)) as (store,):
        with with_variable(database, "read_only", "1"), pytest.raises(StoreUnavailable, match="is read-only"):
            await store.ping()


async def test_session_does_not_depend_on_the_servers_modes(database: MySQL) -> None:
    made = batch([Event('it\'s \\ "x"', "call_started", b'{"a":"it\'s \\\\ \\"x\\""}')])
    with with_variable(database, "sql_mode", "'ANSI,NO_BACKSLASH_ESCAPES'"):
        store = database.store()
        async with opened(store):
            await commit(store, made)
            (found,) = await store.read([made.first_id])

    assert database.call_ids() == ['it\'s \\ "x"']
    assert found.events[0].payload == made.events[0].payload


async def test_statement_may_be_as_large_as_the_server_takes_and_no_larger(database: MySQL) -> None:
    with with_variable(database, "max_allowed_packet", str(PACKET_BYTES)):
        connection = await Connection.open(Address.parse(database.url), TIMEOUT_SECONDS, connect_over_network)
        with closing(connection):
            largest = b"SELECT 1 /*" + b"x" * (PACKET_BYTES - 15) + b"*/"

            assert await connection.run(largest) == [(1,)]
            with pytest.raises(BatchRefused, match="max_allowed_packet"):
                await connection.run(largest + b" ")
            assert await connection.run(b"SELECT 2") == [(2,)]

"""Commits to MySQL that meet other transactions, lost connections, and content that the server refuses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TypeVar

import pytest
from pymysql.cursors import Cursor

from ingest.errors import BatchRefused, RowRefused, SchemaError, StoreError
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.store.mysql.address import Address
from ingest.store.mysql.connection import Connection, connect_over_network
from ingest.store.mysql.store import MySQLStore
from tests.contract.store.stores import TIMEOUT_SECONDS, MySQL, opened
from tests.integration.mysql.lossy_proxy import LossyProxy
from tests.services import MySQLServer
from tests.unit.making import batch, event

T = TypeVar("T")

LEASE_SECONDS = 30.0
LOCK_WAITS = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_waits'"
IDLE = "SELECT id FROM information_schema.processlist WHERE db = '{}' AND command = 'Sleep' AND id <> {}"
ENTRY = "INSERT INTO ingest_outbox (first_id, count, lease_until, batch) VALUES ({}, 1, '2999-01-01', '')"
EVENT = "INSERT INTO call_event_logs VALUES ({}, 'other', 'other', '{{}}', '2025-01-01')"
SLOTS = "INSERT INTO ingest_slots VALUES " + ", ".join(f"({slot}, '', '2999-01-01', 0, '')" for slot in range(100))
MEBIBYTE = 1 << 20

REFUSED = {
    "no JSON": Event("call-1", "call_started", b"{"),
    "too deep": Event("call-1", "call_started", b"[" * 101 + b"]" * 101),
    "call_id too long": Event("x" * 256, "call_started", b"{}"),
    "event_type too long": Event("call-1", "x" * 65, b"{}"),
}


@pytest.fixture
async def database(mysql: MySQLServer) -> MySQL:
    database = MySQL(mysql)
    await database.migrate()
    return database


@pytest.fixture
async def store(database: MySQL) -> AsyncIterator[MySQLStore]:
    store = database.store()
    async with opened(store):
        yield store


@pytest.fixture
def other(database: MySQL) -> Iterator[Cursor]:
    """Another client's transaction."""
    with closing(database.session()) as session, session.cursor() as cursor:
        yield cursor


async def commit(store: MySQLStore, made: Batch) -> None:
    await store.commit(made, lease_seconds=LEASE_SECONDS, settled=[])


async def found(look: Callable[[], T]) -> T:
    """Call `look` until it finds something, and return that."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not (seen := look()):  # noqa: ASYNC110 - the server sends no notice
            await asyncio.sleep(0.02)
    return seen


def own_id(other: Cursor) -> int:
    return int(other.connection.thread_id())  # type: ignore[no-untyped-call]  # of PyMySQL's stubs


async def idle_connection(database: MySQL, but: int = 0) -> int:
    """The store's connection, once it is idle. The server may still list others that have ended."""

    def only_one() -> int:
        rows = database.query(IDLE.format(database.name, but))
        return int(rows[0][0]) if len(rows) == 1 else 0

    return await found(only_one)


def lock_waits(database: MySQL) -> int:
    """The number of waits for another transaction since the server's start."""
    return int(database.query(LOCK_WAITS)[0][1])


async def blocked_commit(store: MySQLStore, database: MySQL, other: Cursor, made: Batch) -> "asyncio.Task[None]":
    """A commit that has inserted its rows, and waits for `other` before its outbox entry."""
    other.execute(ENTRY.format(made.first_id))
    before = lock_waits(database)
    committing = asyncio.create_task(commit(store, made))
    await found(lambda: lock_waits(database) > before)
    return committing


async def test_commit_that_lost_a_deadlock_is_tried_again(store: MySQLStore, database: MySQL, other: Cursor) -> None:
    made = batch(1)
    other.execute(SLOTS)  # InnoDB ends the transaction of a deadlock that changed less
    committing = await blocked_commit(store, database, other, made)

    await asyncio.to_thread(other.execute, EVENT.format(made.first_id))  # works only because the commit lost
    other.connection.rollback()
    await committing

    assert [row[0] for row in database.rows()] == list(made.ids)
    assert database.entries() == [(made.first_id, 1, 0)]


async def test_commit_that_waited_too_long_for_a_lock_is_tried_again(
    store: MySQLStore, database: MySQL, other: Cursor
) -> None:
    made = batch(1)
    committing = await blocked_commit(store, database, other, made)
    before = lock_waits(database)

    await found(lambda: lock_waits(database) > before)
    other.connection.rollback()
    await committing

    assert [row[0] for row in database.rows()] == list(made.ids)
    assert database.entries() == [(made.first_id, 1, 0)]


async def test_commit_whose_connection_is_killed_between_statements_is_tried_again(
    store: MySQLStore, database: MySQL, other: Cursor
) -> None:
    await commit(store, batch(1))
    connection = await idle_connection(database, but=own_id(other))
    made = batch(3, slot=2)
    committing = await blocked_commit(store, database, other, made)
    before = lock_waits(database)

    database.query(f"KILL CONNECTION {connection}")
    await found(lambda: lock_waits(database) > before)
    other.connection.rollback()
    await committing

    assert [row[0] for row in database.rows()] == [*batch(1).ids, *made.ids]
    assert database.entries() == [(batch(1).first_id, 1, 0), (made.first_id, 3, 0)]


async def test_commit_whose_answer_was_lost_is_made_once(database: MySQL) -> None:
    made = batch(3)
    async with LossyProxy(database.url) as proxy:
        store = database.store(proxy.url)
        async with opened(store):
            await store.ping()
            proxy.lose_answer_to(b";COMMIT", once=lambda: len(database.rows()) == 3)

            await commit(store, made)

    assert proxy.lost == 1
    assert [row[0] for row in database.rows()] == list(made.ids)
    assert database.entries() == [(made.first_id, 3, 0)]


async def test_ids_whose_rows_are_not_shown_are_not_taken(store: MySQLStore, database: MySQL) -> None:
    """Rows were deleted, or a proxy reads from a replica. With other ids the events would be stored twice."""
    made = batch([event("call-1"), event("call-2")])
    await commit(store, made)
    database.query(f"DELETE FROM call_event_logs WHERE id = {made.last_id}")

    with pytest.raises(BatchRefused, match="does not show all"):
        await commit(store, made)


async def test_connection_that_the_server_ended_meanwhile_is_replaced(store: MySQLStore, database: MySQL) -> None:
    await commit(store, batch(1))
    database.query(f"KILL CONNECTION {await idle_connection(database)}")

    await commit(store, batch(1, slot=2))

    assert len(database.rows()) == 2


async def test_cancelled_commit_gives_its_place_back(database: MySQL, other: Cursor) -> None:
    store = database.store(connections_max=1)
    async with opened(store):
        committing = await blocked_commit(store, database, other, batch(1))
        committing.cancel()
        await asyncio.wait([committing])

        await commit(store, batch(1, slot=2))

    assert committing.cancelled()


async def test_error_of_a_later_statement_undoes_the_earlier_ones(store: MySQLStore, database: MySQL) -> None:
    refused, next_one = batch(2), batch(1, slot=2)
    database.query(ENTRY.format(refused.first_id))

    with pytest.raises(StoreError):
        await commit(store, refused)
    await commit(store, next_one)

    assert [row[0] for row in database.rows()] == list(next_one.ids)


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_failing_statement_ends_a_transaction_before_its_commit(database: MySQL, place: int) -> None:
    statements = [b"SELECT 1", b"SELECT 2", b"SELECT 3"]
    statements[place] = b"SELECT * FROM no_such_table"
    connection = await Connection.open(
        Address.parse(database.url), TIMEOUT_SECONDS, connect_over_network, autocommit=False
    )
    with closing(connection):
        with pytest.raises(SchemaError, match="no_such_table"):
            await connection.run(b";".join([EVENT.format(1).encode(), *statements, b"COMMIT"]))
        await connection.run(b"ROLLBACK")

        assert await connection.run(b"SELECT COUNT(*) FROM call_event_logs") == [(0,)]


@pytest.mark.parametrize("poison", REFUSED.values(), ids=REFUSED)
async def test_refused_content_keeps_the_whole_batch_out(store: MySQLStore, database: MySQL, poison: Event) -> None:
    with pytest.raises(BatchRefused):
        await commit(store, batch([event("good"), poison, event("good")]))

    assert (database.rows(), database.entries()) == ([], [])


async def test_server_is_asked_once_which_rows_have_no_json(store: MySQLStore, database: MySQL) -> None:
    made = batch([event("good"), REFUSED["no JSON"], event("it's"), REFUSED["no JSON"]])

    for write in (partial(commit, store, made), partial(store.insert_published, [made.part(0, 2), made.part(2, 4)])):
        with pytest.raises(RowRefused, match="MySQL error") as raised:
            await write()
        assert sorted(raised.value.rows) == [made.ids[1], made.ids[3]]

    assert (database.rows(), database.entries()) == ([], [])


@pytest.mark.parametrize(
    "change",
    [
        "ADD CONSTRAINT somebodys CHECK (id < 0)",
        "ADD CONSTRAINT somebodys_payload CHECK (JSON_EXTRACT(payload, '$.tenant') IS NOT NULL)",
        "ADD COLUMN tenant INT NOT NULL",
        "MODIFY event_type ENUM('known') NOT NULL",
        "MODIFY call_id VARCHAR(2) NOT NULL",
    ],
)
async def test_schema_that_refuses_every_row_blames_none(store: MySQLStore, database: MySQL, change: str) -> None:
    await commit(store, batch(1, slot=2))  # the tables are compared before the first commit only
    database.query("DELETE FROM call_event_logs")
    database.query(f"ALTER TABLE call_event_logs {change}")

    with pytest.raises(BatchRefused) as raised:
        await commit(store, batch(1))

    assert not isinstance(raised.value, RowRefused)


async def test_trigger_that_refuses_every_row_blames_none(store: MySQLStore, database: MySQL) -> None:
    database.query(
        "CREATE TRIGGER somebodys BEFORE INSERT ON call_event_logs FOR EACH ROW "
        "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not today'"
    )

    with pytest.raises(BatchRefused, match="not today") as raised:
        await commit(store, batch(1))

    assert not isinstance(raised.value, RowRefused)


async def test_probe_finds_out_whether_commits_are_taken_and_leaves_nothing(store: MySQLStore, database: MySQL) -> None:
    await store.probe()
    assert (database.rows(), database.entries()) == ([], [])

    database.query("RENAME TABLE call_event_logs TO elsewhere")
    await store.ping()
    with pytest.raises(SchemaError):
        await store.probe()

    database.query("RENAME TABLE elsewhere TO call_event_logs")
    await store.probe()
    await commit(store, batch(1))


async def test_store_goes_on_after_refused_content(store: MySQLStore, database: MySQL) -> None:
    with pytest.raises(RowRefused):
        await commit(store, batch([REFUSED["no JSON"]]))

    await commit(store, batch([event("next")]))

    assert database.call_ids() == ["next"]


async def test_missing_table_asks_for_migrations(store: MySQLStore, database: MySQL) -> None:
    database.query("DROP TABLE ingest_outbox")

    with pytest.raises(SchemaError, match="ingest migrate"):
        await commit(store, batch(1))

    assert database.rows() == []


async def test_largest_body_fits_whatever_is_in_it(store: MySQLStore, database: MySQL) -> None:
    await commit(store, batch([backslashes(MEBIBYTE)]))

    assert len(database.rows()) == 1


async def test_largest_batch_fits_or_is_refused_so_that_its_halves_do(store: MySQLStore, database: MySQL) -> None:
    """Four MiB of backslashes become sixteen, escaped and also in the outbox: MariaDB's max_allowed_packet."""
    made = batch([backslashes(MEBIBYTE) for _ in range(4)])

    try:
        await commit(store, made)
    except BatchRefused:
        await commit(store, made.part(0, 2))
        await commit(store, made.part(2, 4))

    assert len(database.rows()) == 4


def backslashes(size: int) -> Event:
    return Event("call-1", "call_started", b'{"a":"' + b"\\" * (size - 8) + b'"}')

"""The servers' JSON columns take and refuse what `ingest.events.json_limits` says they do."""

from collections.abc import AsyncIterator

import pytest

from ingest.errors import BatchRefused, RowRefused
from ingest.events.event import Event
from ingest.store.mysql.store import MySQLStore
from tests.contract.store.stores import MySQL, opened
from tests.services import MySQLServer
from tests.stored_json import KEYS_REFUSED, NUMBERS_REFUSED, TAKEN
from tests.unit.making import batch


@pytest.fixture
async def store(mysql: MySQLServer) -> AsyncIterator[MySQLStore]:
    database = MySQL(mysql)
    await database.migrate()
    store = database.store()
    async with opened(store):
        yield store


def event_with(written: bytes) -> Event:
    return Event("call-1", "call_started", b'{"x":' + written + b"}")


async def commit(store: MySQLStore, *written: bytes) -> None:
    await store.commit(batch([event_with(one) for one in written]), lease_seconds=30.0, settled=[])


async def test_what_is_taken_here_is_taken_there(store: MySQLStore) -> None:
    await commit(store, *TAKEN.values())


@pytest.mark.parametrize("written", {**NUMBERS_REFUSED, **KEYS_REFUSED}.values(), ids=[*NUMBERS_REFUSED, *KEYS_REFUSED])
async def test_what_is_refused_here_is_refused_by_mysql(store: MySQLStore, mysql: MySQLServer, written: bytes) -> None:
    """MariaDB stores JSON as text and accepts it. The service refuses it, as MySQL may replace MariaDB."""
    is_mariadb = "MariaDB" in mysql.query("SELECT VERSION()")[0][0]
    try:
        await commit(store, written)
        assert is_mariadb
    except BatchRefused:
        assert not is_mariadb


async def test_bad_rows_of_a_large_batch_are_found_in_one_question(store: MySQLStore, mysql: MySQLServer) -> None:
    events = [event_with(b"{" if at % 5 == 0 else b"1") for at in range(500)]
    made = batch(events)
    await store.commit(batch([event_with(b"1")], slot=2), lease_seconds=30.0, settled=[])  # looks at the tables first
    before = questions(mysql)

    with pytest.raises(RowRefused) as raised:
        await store.commit(made, lease_seconds=30.0, settled=[])

    assert set(raised.value.rows) == set(made.ids[::5])
    assert questions(mysql) - before < 20


def questions(mysql: MySQLServer) -> int:
    return int(mysql.query("SHOW GLOBAL STATUS LIKE 'Questions'")[0][1])

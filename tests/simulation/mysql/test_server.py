"""The model of MySQL under the service's own store: what a fault leaves behind."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ingest.clock import unix_us
from ingest.errors import StoreUnavailable
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.store import MySQLStore
from tests.simulation.chance import SeededChance
from tests.simulation.mysql.databases import execute, migrated_database
from tests.simulation.mysql.faults import NUMBERS, Fault, FaultRates, drawn_fault
from tests.simulation.mysql.server import Client, Server, client_of
from tests.simulation.mysql.sql.shape import statements_of
from tests.unit.fakes import until
from tests.unit.making import NOW_US, batch

TIMEOUT_SECONDS = 0.3
STATEMENTS = 4
"""A commit's query without keys: rows, entry, a settled entry, COMMIT."""


class Chosen:
    """Chance that makes the same decisions each time: the choices in `picks`, else 0."""

    def __init__(self, **picks: int) -> None:
        self.picks = picks
        self.left = 1

    def happens(self, what: str, probability: float) -> bool:
        self.left -= 1
        return self.left >= 0

    def pick(self, what: str, count: int) -> int:
        return next((chosen for word, chosen in self.picks.items() if word in what.split()), 0)

    def seconds(self, what: str, least: float, most: float) -> float:
        return least


@pytest.fixture
def server() -> Server:
    return Server(migrated_database(), unix_us, SeededChance(0))


@pytest.fixture
def client(server: Server) -> Client:
    return client_of(server)


@pytest.fixture
async def store(server: Server, client: Client) -> AsyncIterator[MySQLStore]:
    servers = Servers.parse("mysql://ingest@model/ingest", connect=client.connect)
    store = MySQLStore(
        servers,
        connections_max=2,
        connect_timeout_seconds=TIMEOUT_SECONDS,
        commit_timeout_seconds=TIMEOUT_SECONDS,
        now_us=unix_us,
    )
    yield store
    await store.close()
    assert server.defect is None


def counts(server: Server) -> tuple[int, int]:
    """Events and outbox entries."""
    tables = server.database.tables
    return len(list(tables["call_event_logs"].committed_rows())), len(list(tables["ingest_outbox"].committed_rows()))


@pytest.mark.parametrize("at", range(STATEMENTS + 1))
async def test_lost_connection_before_or_after_any_statement_leaves_all_or_nothing(
    server: Server, store: MySQLStore, at: int
) -> None:
    await store.commit(batch(1), lease_seconds=30, settled=[])
    server.rates = FaultRates(query=1.0)
    server.chance = Chosen(fault=2, statement=at)
    made = batch(3, us=NOW_US + 1000)

    await store.commit(made, lease_seconds=30, settled=[batch(1).first_id])  # the store tries again

    assert counts(server) == (4, 1)


@pytest.mark.parametrize(("at", "stored"), [(0, 1), (1, 4)])
async def test_query_without_an_answer_was_lost_or_executed_and_holds_no_lock(
    server: Server, store: MySQLStore, at: int, stored: int
) -> None:
    await store.commit(batch(1), lease_seconds=30, settled=[])
    server.rates, server.chance = FaultRates(query=1.0), Chosen(fault=3, statement=at)
    made = batch(3, us=NOW_US + 1000)

    with pytest.raises(StoreUnavailable):
        await store.commit(made, lease_seconds=30, settled=[])
    assert counts(server)[0] == stored

    await store.commit(made, lease_seconds=30, settled=[])
    assert counts(server) == (4, 2)


@pytest.mark.parametrize("number", range(len(NUMBERS)), ids=map(str, NUMBERS))
async def test_every_error_reaches_the_client_and_leaves_no_lock(
    server: Server, client: Client, store: MySQLStore, number: int
) -> None:
    await store.commit(batch(1), lease_seconds=30, settled=[])
    raw = await client.connect(Model(), TIMEOUT_SECONDS)
    server.rates, server.chance = FaultRates(query=1.0), Chosen(fault=1, error=number, statement=1)

    answer = await raw.query(b"BEGIN;DELETE FROM ingest_outbox WHERE attempts = 0")
    raw.close()

    assert answer.error is not None
    assert answer.error.args[0] == NUMBERS[number]
    await store.settle([batch(1).first_id])
    assert counts(server) == (1, 0)


async def test_failover_loses_the_last_commits_only(server: Server, store: MySQLStore) -> None:
    for number in range(3):
        await store.commit(batch(2, us=NOW_US + number * 1000), lease_seconds=30, settled=[])

    assert server.fail_over(2) == 2

    assert counts(server) == (2, 1)
    await store.commit(batch(2, us=NOW_US + 1000), lease_seconds=30, settled=[])
    assert counts(server) == (4, 2)


async def test_frozen_server_executes_what_it_got_although_the_client_has_gone(
    server: Server, store: MySQLStore
) -> None:
    await store.commit(batch(1), lease_seconds=30, settled=[])
    server.freeze()
    with pytest.raises(StoreUnavailable):
        await store.commit(batch(2, us=NOW_US + 1000), lease_seconds=30, settled=[])
    assert counts(server) == (1, 1)

    server.thaw()

    await until(lambda: counts(server) == (3, 2))


async def test_crash_keeps_commits_and_releases_locks(server: Server, client: Client, store: MySQLStore) -> None:
    await store.commit(batch(1), lease_seconds=30, settled=[])
    other = await client.connect(Model(), TIMEOUT_SECONDS)
    await other.query(b"BEGIN;DELETE FROM ingest_outbox WHERE attempts = 0")

    server.restart()

    assert counts(server) == (1, 1)
    await store.settle([batch(1).first_id])
    assert counts(server) == (1, 0)


async def test_killed_client_holds_no_lock(server: Server, client: Client, store: MySQLStore) -> None:
    await store.commit(batch(1), lease_seconds=30, settled=[])
    dead = client_of(server)
    await (await dead.connect(Model(), TIMEOUT_SECONDS)).query(b"BEGIN;DELETE FROM ingest_outbox WHERE attempts = 0")

    dead.end()

    await store.settle([batch(1).first_id])
    assert counts(server) == (1, 0)


async def test_idle_session_ends_after_its_time_and_releases_its_locks(server: Server, client: Client) -> None:
    raw = await client.connect(Model(), TIMEOUT_SECONDS)
    await raw.query(b"SET SESSION wait_timeout = 0;BEGIN;SELECT behind FROM ingest_order WHERE id = 1 FOR UPDATE")

    await until(lambda: raw.session.has_ended)

    execute(server, b"UPDATE ingest_order SET behind = 1 WHERE id = 1")


async def test_read_only_server_refuses_writes(server: Server, store: MySQLStore) -> None:
    server.read_only = True
    with pytest.raises(StoreUnavailable, match="read-only"):
        await store.commit(batch(1), lease_seconds=30, settled=[])


async def test_server_that_became_read_only_undoes_an_open_transaction(server: Server, client: Client) -> None:
    raw = await client.connect(Model(), TIMEOUT_SECONDS)
    await raw.query(b"BEGIN;UPDATE ingest_order SET behind = 1 WHERE id = 1")
    server.read_only = True

    answer = await raw.query(b"COMMIT")

    assert answer.error is not None
    assert answer.error.args[0] == 1290
    assert execute(server, b"SELECT behind FROM ingest_order WHERE id = 1") == [(0,)]


def test_batches_of_any_size_have_one_shape() -> None:
    def shapes(rows: int) -> list[bytes]:
        values = b",".join(b"(%d,'it\\'s ? x',x'00')" % number for number in range(rows))
        query = b"INSERT INTO t (a, b, c) VALUES %b;DELETE FROM t WHERE a IN (%b)" % (values, b",".join([b"1"] * rows))
        return [statement.shape for statement in statements_of(query)]

    assert shapes(2) == shapes(50)


def test_no_fault_is_drawn_without_a_rate() -> None:
    assert drawn_fault(Chosen(), FaultRates(), 3) is None
    assert drawn_fault(Chosen(fault=1), FaultRates(query=1.0), 3) == Fault("error", 0, 1205)


async def test_everything_waits_for_a_change_of_the_table(server: Server, client: Client, store: MySQLStore) -> None:
    await store.commit(batch(1), lease_seconds=30, settled=[])
    reader = await client.connect(Model(), TIMEOUT_SECONDS)
    await reader.query(b"BEGIN;SELECT id FROM call_event_logs")
    changer = await client.connect(Model(), TIMEOUT_SECONDS)
    change = asyncio.create_task(changer.query(b"RENAME TABLE call_event_logs TO aside, aside TO call_event_logs"))
    await until(lambda: changer.session.is_waiting)

    commit = asyncio.create_task(store.commit(batch(1, us=NOW_US + 1000), lease_seconds=30, settled=[]))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not commit.done()

    await reader.query(b"COMMIT")
    await commit
    assert (await change).error is None


class Model:
    host = "model"

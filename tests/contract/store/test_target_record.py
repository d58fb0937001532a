"""The publish target that all workers of a database share, on a real database."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ingest.broker.target_record import Target, TargetRecord
from ingest.store.mysql.store import MySQLStore
from tests.contract.store.stores import MySQL, opened
from tests.services import MySQLServer
from tests.unit.making import batch

QUEUE: Target = {"INGEST_PUBLISH_TO": "queue", "INGEST_QUEUE": "it's \\ ☎"}
STREAM: Target = {"INGEST_PUBLISH_TO": "stream", "INGEST_QUEUE": "calls", "INGEST_STREAM_PARTITIONS": 3}
pytestmark = pytest.mark.servers


@pytest.fixture
async def database(mysql: MySQLServer) -> MySQL:
    database = MySQL(mysql)
    await database.migrate()
    return database


@pytest.fixture
async def store(database: MySQL) -> AsyncIterator[MySQLStore]:
    made = database.store(connections_max=1)
    async with opened(made):
        yield made


def never(_: TargetRecord) -> bool:
    return False


def always(_: TargetRecord) -> bool:
    return True


async def test_first_target_is_agreed_on_and_others_see_who_has_it(store: MySQLStore) -> None:
    assert await store.record() == TargetRecord(None, [], waiting=False)
    assert await store.share("worker-1", "one:8000", QUEUE, always) == QUEUE
    found: list[TargetRecord] = []

    def look(record: TargetRecord) -> bool:
        found.append(record)
        return False

    assert await store.share("worker-2", "two:8000", STREAM, look) == QUEUE
    assert found[0].shared == QUEUE
    assert [(member.node, member.target, member.live) for member in found[0].workers] == [("one:8000", QUEUE, True)]
    assert {member.node for member in (await store.record()).workers} == {"one:8000", "two:8000"}


async def test_target_is_replaced_by_who_may(store: MySQLStore) -> None:
    await store.share("worker-1", "one:8000", QUEUE, always)
    await store.leave("worker-1")
    assert (await store.record()).workers == []
    assert await store.share("worker-2", "two:8000", STREAM, always) == STREAM
    assert await store.share("worker-1", "one:8000", QUEUE, never) == STREAM


async def test_record_tells_whether_events_wait(store: MySQLStore) -> None:
    made = batch(1)
    await store.commit(made, lease_seconds=30.0, settled=[])
    assert (await store.record()).waiting
    await store.settle([made.first_id])
    assert not (await store.record()).waiting


async def test_of_several_that_start_at_once_one_decides(store: MySQLStore, database: MySQL) -> None:
    other = database.store(connections_max=1)
    async with opened(other):
        shared = await asyncio.gather(
            store.share("worker-1", "one:8000", QUEUE, lambda record: record.shared is None),
            other.share("worker-2", "two:8000", STREAM, lambda record: record.shared is None),
        )
    assert shared[0] == shared[1]

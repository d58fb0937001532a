"""Retention's own code runs on the model of MySQL."""

from datetime import UTC, datetime, timedelta

import pytest

from ingest.clock import unix_us
from ingest.errors import StoreUnavailable
from ingest.events.ids import first_id_of
from ingest.retention.run import Retention
from ingest.store.mysql.partitioning.conversion import Conversion
from ingest.store.mysql.partitioning.partitions import PartitionedTable
from ingest.store.mysql.pool import Servers
from tests.simulation.chance import SeededChance
from tests.simulation.mysql.databases import execute, migrated_database
from tests.simulation.mysql.server import Server, client_of

DAYS = 5
KEEP_DAYS = 2
TIMEOUT_SECONDS = 5.0
INSERT = b"INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time) VALUES (%d,'c','t','{}','%b')"


async def test_table_is_converted_and_its_old_days_are_dropped() -> None:
    server = Server(migrated_database(), unix_us, SeededChance(0))
    now = datetime.now(UTC)
    for age in range(DAYS):
        day = now - timedelta(days=age)
        event_id = first_id_of(int(day.timestamp() * 1000)) + 1
        execute(server, INSERT % (event_id, day.strftime("%Y-%m-%d %H:%M:%S.%f").encode()))
    servers = Servers.parse("mysql://ingest@model/ingest", connect=client_of(server).connect)
    table = await PartitionedTable.open(servers, TIMEOUT_SECONDS)
    try:
        assert await table.lock(1)
        assert await Conversion(table.connection, unix_us, lambda done, total: None).run() == DAYS
        retention = Retention(table, KEEP_DAYS, None, unix_us)
        dropped = [partition async for partition in retention.drop()]
    finally:
        await table.close()
    assert server.defect is None
    assert len(dropped) == DAYS - KEEP_DAYS
    assert len(server.database.table("call_event_logs")) == KEEP_DAYS


async def test_query_without_an_answer_ends_after_its_time() -> None:
    server = Server(migrated_database(), unix_us, SeededChance(0))
    servers = Servers.parse("mysql://ingest@model/ingest", connect=client_of(server).connect)
    table = await PartitionedTable.open(servers, TIMEOUT_SECONDS, query_seconds_max=0.05)
    server.freeze()
    try:
        with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.05 s"):
            await table.facts()
    finally:
        server.thaw()
        await table.close()

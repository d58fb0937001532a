"""Tables that benchmarks fill with rows, on a real server."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC
from http.client import HTTPConnection

import pytest

from bench.harness.events import STEPS
from bench.harness.grown import Grown, first_id_now
from bench.harness.targets import Servers, Service, service
from ingest.events.event import decode
from ingest.events.ids import milliseconds_of
from ingest.http.event_handler import PATH
from tests.running import EVENT, TOKEN
from tests.services import MySQLServer, RabbitMQServer

ROWS = 7
"""Rows of two calls, and the first of a third."""
MADE = "SELECT id, call_id, event_type, payload, created_time FROM call_event_logs ORDER BY id"
INDEXES = "SHOW INDEX FROM call_event_logs"
COUNT = "SELECT COUNT(*) FROM call_event_logs"
FILL_FACTOR = "SELECT @@innodb_fill_factor"


@pytest.fixture(scope="module")
def servers(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> Servers:
    return Servers(mysql, rabbitmq)


@pytest.fixture(scope="module")
def target(servers: Servers) -> Iterator[Service]:
    with service(servers, "classic") as target:
        yield target


def test_filled_rows_equal_rows_that_the_service_stores(target: Service, servers: Servers) -> None:
    Grown(target, servers).fill(ROWS)

    rows = servers.mysql.query(MADE, target.database)
    events = [decode(payload.encode()) for _, _, _, payload, _ in rows]
    assert [(event.call_id, event.event_type) for event in events] == [row[1:3] for row in rows]
    assert [event.event_type for event in events] == [STEPS[number % 3] for number in range(ROWS)]
    assert [events[number].call_id == events[0].call_id for number in range(4)] == [True, True, True, False]
    assert [milliseconds_of(row[0]) for row in rows] == [row[4].replace(tzinfo=UTC).timestamp() * 1000 for row in rows]
    assert rows[-1][0] < first_id_now()


def test_filled_table_has_its_index_and_the_server_its_settings(target: Service, servers: Servers) -> None:
    before = servers.mysql.query(FILL_FACTOR)

    Grown(target, servers).fill(ROWS)

    indexes = servers.mysql.query(INDEXES, target.database)
    assert {index[2] for index in indexes} == {"PRIMARY", "call_event_logs_call_id"}
    assert servers.mysql.query(FILL_FACTOR) == before


def test_rows_stay_from_round_to_round_and_only_new_ones_are_counted(target: Service, servers: Servers) -> None:
    grown = Grown(target, servers)
    grown.fill(ROWS)
    grown.clear()
    assert (grown.rows(), grown.held) == (0, ROWS)

    assert post(target.port) == 200
    grown.drain()

    assert (grown.rows(), grown.held) == (1, ROWS + 1)
    grown.clear()
    assert (grown.rows(), grown.held) == (0, ROWS + 1)
    assert servers.mysql.query(COUNT, target.database) == [(ROWS + 1,)]


def post(port: int) -> int:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", PATH, json.dumps(EVENT), {"X-API-TOKEN": TOKEN})
        return connection.getresponse().status

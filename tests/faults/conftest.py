"""Servers of the fault tests' own, in place of those that all other tests share: these are killed."""

from collections.abc import Iterator

import pytest

from tests.faults.scene import Scene, scene
from tests.services import MySQLServer, RabbitMQServer, mysql_server, rabbitmq_server

LEASE_SECONDS = "3"
"""After a worker's death its outbox entries wait this long for the relay; by default it is 30 s."""


@pytest.fixture(scope="package")
def mysql() -> Iterator[MySQLServer]:
    with mysql_server() as server:
        if not server.controllable:
            pytest.skip("INGEST_TEST_MYSQL_URL names a server that tests may not kill")
        yield server


@pytest.fixture(scope="package")
def rabbitmq() -> Iterator[RabbitMQServer]:
    with rabbitmq_server() as server:
        if not server.controllable:
            pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not kill")
        yield server


@pytest.fixture
def here(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> Iterator[Scene]:
    """The service with two workers, ready."""
    with scene(mysql, rabbitmq, {"LEASE_SECONDS": LEASE_SECONDS}) as made:
        yield made

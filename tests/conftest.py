"""Servers for the whole run, started once, at their first use; and the service before them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.store.hostile import hostile_mysql_server
from tests.running import ServiceProcess
from tests.services import MySQLServer, RabbitMQServer, mysql_server, rabbitmq_server

StartService = Callable[..., ServiceProcess]

SERVER_FIXTURES = {"mysql", "hostile_mysql", "rabbitmq", "own_mysql", "own_rabbitmq", "tls_server", "tls_rabbitmq"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what talks to servers: `make test-mysql` runs just that over other ones."""
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


@pytest.fixture(scope="session")
def mysql() -> Iterator[MySQLServer]:
    with mysql_server() as server:
        yield server


@pytest.fixture(scope="session")
def hostile_mysql() -> Iterator[MySQLServer]:
    """Every setting is as unlike the defaults as it can be."""
    with hostile_mysql_server() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQServer]:
    with rabbitmq_server() as server:
        yield server


@pytest.fixture
def embedded_service(tmp_path: Path) -> Iterator[ServiceProcess]:
    """The service with SQLite and the embedded queue."""
    with ServiceProcess(tmp_path) as service:
        yield service


@pytest.fixture
def full_settings(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> dict[str, str]:
    """Settings for a database and a queue of the test's own on the real servers."""
    return {
        "DATABASE_URL": mysql.fresh_database(),
        "BROKER_URL": rabbitmq.amqp_url,
        "QUEUE": rabbitmq.fresh_queue_name(),
    }


@pytest.fixture
def start_service(tmp_path: Path, full_settings: Mapping[str, str]) -> Iterator[StartService]:
    """Starts the service on MySQL and RabbitMQ: `start_service(WORKERS="2")`."""
    with ExitStack() as stack:

        def start(**settings: str) -> ServiceProcess:
            return stack.enter_context(ServiceProcess(tmp_path, {**full_settings, **settings}))

        yield start

"""Servers for the whole run, each started at its first use; and the service with them."""

import gc
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.store.hostile import hostile_mysql_server
from tests.running import ServiceProcess
from tests.services import MySQLServer, RabbitMQServer, mysql_server, rabbitmq_server

StartService = Callable[..., ServiceProcess]

PATIENCE = {
    "SPOOL_AFTER_SECONDS": "30",
    "COMMIT_TIMEOUT_SECONDS": "30",
    "CONNECT_TIMEOUT_SECONDS": "30",
    "WATCHDOG_SECONDS": "60",
}
"""A busy machine may stop a server or a worker for seconds. With the default limits, an event is in the spool then.
The scenes of the fault tests have the default limits."""

SERVER_FIXTURES = {"mysql", "hostile_mysql", "rabbitmq", "own_mysql", "own_rabbitmq", "tls_server", "tls_rabbitmq"}


def settings_of(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> dict[str, str]:
    """Return settings for a new database and queue on the real servers, for a service that is patient with them."""
    return {
        **PATIENCE,
        "DATABASE_URL": mysql.fresh_database(),
        "BROKER_URL": rabbitmq.amqp_url,
        "QUEUE": rabbitmq.fresh_queue_name(),
    }


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the collections of garbage while the tests are found, and later ones the many objects of the tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that need servers: `make test-mysql` runs only these, with other servers."""
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


@pytest.fixture(scope="session")
def mysql() -> Iterator[MySQLServer]:
    with mysql_server() as server:
        yield server


@pytest.fixture(scope="session")
def hostile_mysql() -> Iterator[MySQLServer]:
    """A server whose settings differ from the defaults as much as possible."""
    with hostile_mysql_server() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQServer]:
    with rabbitmq_server() as server:
        yield server


@pytest.fixture
def embedded_service(tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service with SQLite and the embedded queue."""
    with ServiceProcess(tmp_path) as service:
        yield service


@pytest.fixture
def full_settings(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> dict[str, str]:
    return settings_of(mysql, rabbitmq)


@pytest.fixture
def start_service(tmp_path: Path, full_settings: Mapping[str, str]) -> Iterator[StartService]:
    """Starts the service on MySQL and RabbitMQ: `start_service(WORKERS="2")`."""
    with ExitStack() as stack:

        def start(**settings: str) -> ServiceProcess:
            return stack.enter_context(ServiceProcess(tmp_path, {**full_settings, **settings}))

        yield start

"""Servers of the alerts' tests with their exporters, separate from others because the tests stop them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.alerts.rules import SCRAPE_MS, write_hurried
from tests.alerts.watch import Watch, watching
from tests.faults.harness.scene import Scene, scene
from tests.services import MysqldExporter, MySQLServer, RabbitMQServer, mysql_server, rabbitmq_server

OPTION = "--silent-seconds"
StartScene = Callable[..., Scene]
StartWatch = Callable[[Scene], AbstractContextManager[Watch]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, type=float, default=600.0, help="seconds for which a healthy service must have no alert")


@pytest.fixture(scope="session")
def silent_seconds(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption(OPTION))


@pytest.fixture(scope="session")
def fired() -> set[str]:
    """The names of the alerts that have fired so far."""
    return set()


@pytest.fixture(scope="package")
def mysql() -> Iterator[MySQLServer]:
    with mysql_server() as server:
        yield server


@pytest.fixture(scope="package")
def rabbitmq() -> Iterator[RabbitMQServer]:
    with rabbitmq_server(metrics=True) as server:
        yield server


@pytest.fixture(scope="package")
def exporter(mysql: MySQLServer) -> Iterator[MysqldExporter]:
    with MysqldExporter(mysql) as server:
        yield server


@pytest.fixture
def start_scene(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> Iterator[StartScene]:
    """`start_scene(SPOOL_BYTES_MAX="0")` starts the service with two workers, and waits until it is ready."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(scene(mysql, rabbitmq, settings))


@pytest.fixture
def watch(rabbitmq: RabbitMQServer, exporter: MysqldExporter, fired: set[str], tmp_path: Path) -> StartWatch:
    """`with watch(here) as seen:` watches the scene with the hurried rules."""

    def start(here: Scene) -> AbstractContextManager[Watch]:
        ports = {"call-events": here.service.port, "rabbitmq": rabbitmq.metrics_port, "mysql": exporter.port}
        return watching(ports, write_hurried(tmp_path), SCRAPE_MS, fired)

    return start

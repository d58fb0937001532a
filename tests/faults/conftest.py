"""Servers of the fault tests, separate from those of all other tests, because the faults kill them."""

from collections.abc import Iterator

import pytest

from tests.faults.form import LONG, SHORT, Form
from tests.faults.harness.scene import Scene, scene
from tests.faults.reading import version_of
from tests.faults.report import Report
from tests.services import MySQLServer, RabbitMQServer, mysql_server, rabbitmq_server

OPTION = "--long-faults"
REPORT = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help="ten rounds of each kill, and long outages (80 min)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests marked `long` unless the long form was chosen."""
    if not config.getoption(OPTION, default=False):
        long = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash.get(REPORT, None)
    if report and (report.findings or report.remarks):
        terminalreporter.section("faults")
        terminalreporter.write_line("\n".join(report.lines()))


@pytest.fixture(scope="session")
def form(request: pytest.FixtureRequest) -> Form:
    # pytest knows the option only if it was started with this folder.
    return LONG if request.config.getoption(OPTION, default=False) else SHORT


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    return request.config.stash.setdefault(REPORT, Report())


@pytest.fixture(scope="package")
def mysql(report: Report) -> Iterator[MySQLServer]:
    with mysql_server() as server:
        if not server.controllable:
            pytest.skip("INGEST_TEST_MYSQL_URL names a server that tests may not kill")
        version = server.query("SELECT VERSION()")[0][0]
        report.servers.add(version if "MariaDB" in version else f"MySQL {version}")
        yield server


@pytest.fixture(scope="package")
def rabbitmq(report: Report) -> Iterator[RabbitMQServer]:
    with rabbitmq_server() as server:
        if not server.controllable:
            pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not kill")
        report.servers.add(version_of(server.amqp_url))
        yield server


@pytest.fixture(scope="module")
def here(mysql: MySQLServer, rabbitmq: RabbitMQServer, form: Form) -> Iterator[Scene]:
    """The ready service with two workers. All tests of a module use it in turn."""
    with scene(mysql, rabbitmq, {"LEASE_SECONDS": str(form.lease_seconds)}) as made:
        yield made

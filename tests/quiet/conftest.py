"""The long form, and the table of operations and alerts at its end."""

from pathlib import Path

import pytest

from tests.quiet.report import Report

LONG, PACE = "--long-quiet", "--quiet-pace"
REPORT = pytest.StashKey[Report]()
FOLDER = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(LONG, action="store_true", help="all planned operations (11 min)")
    parser.addoption(PACE, type=int, default=1, help="divides the times in the rules, as in tests/alerts")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests here that are marked `long` unless the long form was chosen."""
    if not config.getoption(LONG, default=False):
        long = [item for item in items if item.path.parent == FOLDER and item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if report := config.stash.get(REPORT, None):
        terminalreporter.section("planned operations")
        terminalreporter.write_line("\n".join(report.lines()))


@pytest.fixture(scope="session")
def pace(request: pytest.FixtureRequest) -> int:
    # pytest knows the option only if it was started with this folder.
    return int(request.config.getoption(PACE, default=1))


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    return request.config.stash.setdefault(REPORT, Report())

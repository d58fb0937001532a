"""The size of the move from Laravel."""

import pytest

from tests.migration.journey import LONG, SHORT, Size

OPTION = "--long-migration"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help="a million rows and ten thousand jobs (15 min)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The short form plays the journey with one form of jobs. `tests/integration/mysql/operators` reads both."""
    if "form" in metafunc.fixturenames:
        metafunc.parametrize("form", ["array", "model"] if _is_long(metafunc.config) else ["array"])


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    return LONG if _is_long(request.config) else SHORT


def _is_long(config: pytest.Config) -> bool:
    """pytest knows the option only if it was started with this folder."""
    return bool(config.getoption(OPTION, default=False))

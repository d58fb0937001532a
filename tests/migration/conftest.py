"""The size of the move from Laravel."""

import pytest

from tests.migration.journey import LONG, SHORT, Size

OPTION = "--long-migration"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help="a million rows and ten thousand jobs (15 min)")


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    # pytest knows the option only if it was started with this folder.
    return LONG if request.config.getoption(OPTION, default=False) else SHORT

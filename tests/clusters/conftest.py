"""Two clusters for the whole run, and its remarks at the end."""

from collections.abc import Iterator

import pytest

from tests.clusters.scene import Clusters, clusters

REMARKS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def remarks(request: pytest.FixtureRequest) -> list[str]:
    """Lines that pytest prints after all tests."""
    return request.config.stash.setdefault(REMARKS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(REMARKS, []):
        terminalreporter.section("clusters")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(scope="session")
def both() -> Iterator[Clusters]:
    with clusters() as made:
        yield made

"""Two clusters for the whole run, and what it found at its end."""

from collections.abc import Iterator

import pytest

from tests.clusters.scene import Clusters, clusters

TOLD = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def told(request: pytest.FixtureRequest) -> list[str]:
    """Lines for people, shown when all tests have run."""
    return request.config.stash.setdefault(TOLD, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(TOLD, []):
        terminalreporter.section("clusters")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(scope="session")
def both() -> Iterator[Clusters]:
    with clusters() as made:
        yield made

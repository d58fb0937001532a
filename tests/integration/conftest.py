"""One embedded service for all tests that only send HTTP requests; and the command line."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.commands import TOKENS, Ingest
from tests.running import TOKEN, ServiceProcess

OTHER_TOKEN = "another-token-of-the-tests"

Payloads = Callable[[str], list[str]]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A shared service. Its rows stay, so tests find their own rows by `call_id`."""
    settings = {"API_TOKENS": f"{TOKEN}, {OTHER_TOKEN}"}
    with ServiceProcess(tmp_path_factory.mktemp("embedded"), settings) as running:
        yield running


@pytest.fixture
def payloads(service: ServiceProcess) -> Payloads:
    """`payloads(call_id)` returns the payloads of a call in the table, in order."""
    path = Path(service.environment["INGEST_DATABASE_URL"].removeprefix("sqlite:///"))

    def read(call_id: str) -> list[str]:
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT payload FROM call_event_logs WHERE call_id = ? ORDER BY id", (call_id,))
            return [payload for (payload,) in rows]

    return read


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    return Ingest(tmp_path)


@pytest.fixture
def real(full_settings: Mapping[str, str]) -> dict[str, str]:
    """Settings of commands for MySQL and RabbitMQ."""
    return {**full_settings, "API_TOKENS": TOKENS}

"""URLs with several hosts, of which the first is down or silent."""

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import pytest

from ingest.errors import StoreUnavailable
from tests.commands import Ingest
from tests.conftest import StartService
from tests.contract.store.stores import MySQL, opened
from tests.services import MySQLServer, RabbitMQServer, free_port

DEADLINE_SECONDS = 3.0
"""A busy machine answers within it. The test waits for it once."""
EVENT = {
    "call_id": "1",
    "event_type": "call_started",
    "from_number": "a",
    "to_number": "b",
    "timestamp": "2025-01-31T13:45:00Z",
}


def with_first_host(host: str, url: str) -> str:
    """Return the URL with this host inserted before its own."""
    parts = urlsplit(url)
    user, _, own = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}@{host},{own}"))


@pytest.fixture
def clustered(real: Mapping[str, str], rabbitmq: RabbitMQServer) -> dict[str, str]:
    urls = {**real, "STREAM_URL": rabbitmq.stream_url}
    away = f"127.0.0.1:{free_port()}"
    return {name: with_first_host(away, value) if name.endswith("_URL") else value for name, value in urls.items()}


@pytest.mark.parametrize("publish_to", ["queue", "stream"])
def test_commands_and_service_fail_over_to_the_next_host(
    publish_to: str, ingest: Ingest, clustered: dict[str, str], start_service: StartService
) -> None:
    settings = {**clustered, "PUBLISH_TO": publish_to}
    ingest("migrate", **settings)
    service = start_service(**{name: value for name, value in settings.items() if name != "API_TOKENS"})
    assert service.post(EVENT)[0] == 200

    doctor = ingest("doctor", **settings)
    printed = ingest("tail", "--limit", "1", **settings)

    assert doctor.returncode == 0, doctor
    assert json.loads(printed.stdout) == EVENT


async def test_silent_host_is_skipped_on_retry(mysql: MySQLServer) -> None:
    database = MySQL(mysql)
    await database.migrate()
    gone = asyncio.Event()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    silent = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
    async with silent:
        host = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        async with opened(database.store(with_first_host(host, database.url), DEADLINE_SECONDS)) as (store,):
            with pytest.raises(StoreUnavailable):
                await store.ping()
            await store.ping()
        await gone.wait()

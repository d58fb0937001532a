"""URLs of several hosts, the first of which is away or says nothing."""

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

DEADLINE_SECONDS = 0.5
EVENT = {
    "call_id": "1",
    "event_type": "call_started",
    "from_number": "a",
    "to_number": "b",
    "timestamp": "2025-01-31T13:45:00Z",
}


def behind(host: str, url: str) -> str:
    """The URL with that host before its own."""
    parts = urlsplit(url)
    user, _, own = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}@{host},{own}"))


@pytest.fixture
def clustered(real: Mapping[str, str], rabbitmq: RabbitMQServer) -> dict[str, str]:
    urls = {**real, "STREAM_URL": rabbitmq.stream_url}
    away = f"127.0.0.1:{free_port()}"
    return {name: behind(away, value) if name.endswith("_URL") else value for name, value in urls.items()}


@pytest.mark.parametrize("publish_to", ["queue", "stream"])
def test_commands_and_service_go_to_the_next_host(
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


async def test_host_that_says_nothing_is_passed_over_at_the_next_try(mysql: MySQLServer) -> None:
    database = MySQL(mysql)
    await database.migrate()
    gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with silent:
        host = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        async with opened(database.store(behind(host, database.url), DEADLINE_SECONDS)) as (store,):
            with pytest.raises(StoreUnavailable):
                await store.ping()
            await store.ping()
        await gone.wait()

"""The reference for latencies: a separate client commits single rows durably, and does nothing else."""

import asyncio
import time
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncmy
import uvloop

from bench.harness.events import STEPS, bodies
from ingest.store.mysql.address import Address
from ingest.store.mysql.migrate import migrate
from ingest.store.mysql.pool import Servers
from tests.services import MySQLServer

CONNECT_SECONDS = 3
INSERT = (
    "INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time) "
    "VALUES (%s, %s, %s, %s, UTC_TIMESTAMP(6))"
)
PAYLOAD = bodies(1)[0].decode()


class Commits:
    """Commits single rows one after another, with the service's driver and event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._made = 0

    def prepare(self) -> None:
        """Create the tables."""
        uvloop.run(migrate(Servers.parse(self._url), CONNECT_SECONDS))

    def measure(self, seconds: float, per_second: float | None = None) -> "array[float]":
        """Return the seconds of each commit, from making the statement to the server's answer.

        The commits run back to back, or at the even rate `per_second`.
        """
        return uvloop.run(self._measure(seconds, per_second))

    async def _measure(self, seconds: float, per_second: float | None) -> "array[float]":
        took = array("d")
        ends = time.monotonic() + seconds
        async with self._connected() as connection, connection.cursor() as cursor:
            while (begun := time.monotonic()) < ends:
                await cursor.execute(INSERT, self._row())
                took.append(time.monotonic() - begun)
                if per_second:
                    await asyncio.sleep(max(0.0, begun + 1 / per_second - time.monotonic()))
        return took

    def _row(self) -> tuple[int, str, str, str]:
        self._made += 1
        return self._made, f"{self._made:012x}@pbx.example.com", STEPS[0], PAYLOAD

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        address = Address.parse(self._url)
        connection = await asyncmy.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            database=address.database,
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
        )
        try:
            yield connection
        finally:
            await connection.ensure_closed()


@contextmanager
def commits(mysql: MySQLServer) -> Iterator[Commits]:
    """Yield commits to the service's table in a new database, which is dropped afterwards."""
    url = mysql.fresh_database()
    try:
        made = Commits(url)
        made.prepare()
        yield made
    finally:
        mysql.query(f"DROP DATABASE IF EXISTS {urlsplit(url).path.lstrip('/')}")

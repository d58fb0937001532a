"""A named lock of MySQL, held by one worker among all nodes. It ends with its connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingest.errors import StoreUnavailable
from ingest.files.exclusive_lock import WAIT_SECONDS, ExclusiveLock
from ingest.store.mysql.pool import Servers

GET_LOCK = b"SELECT GET_LOCK(CONCAT('ingest_%b.', LEFT(DATABASE(), 40)), %d)"


def mysql_lock(servers: Servers, name: str, connect_timeout_seconds: float) -> ExclusiveLock:
    """`name` distinguishes the service's locks in one database."""

    @asynccontextmanager
    async def exclusively() -> AsyncIterator[None]:
        connection = await servers.connect(connect_timeout_seconds)
        try:
            if not (await connection.run(GET_LOCK % (name.encode(), WAIT_SECONDS)))[0][0]:
                raise StoreUnavailable(f"Another worker has the lock {name} of the database.")
            yield
        finally:
            await connection.end()

    return exclusively

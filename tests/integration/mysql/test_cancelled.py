"""A cancellation in the middle of the driver's work is not lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ingest.errors import StoreUnavailable
from ingest.store.mysql.address import Address
from ingest.store.mysql.connection import Connection, connect_over_network
from ingest.tasks import end

PATIENCE_SECONDS = 60.0


@pytest.fixture
async def silent() -> AsyncIterator[tuple[Address, asyncio.Event]]:
    """A server that accepts connections but never answers. The event is set at the first connection."""
    there = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield Address.parse(f"mysql://user:pass@127.0.0.1:{port}/calls"), there
    server.close()


async def test_connecting_is_cancelled(silent: tuple[Address, asyncio.Event]) -> None:
    address, there = silent
    task = asyncio.create_task(Connection.open(address, PATIENCE_SECONDS, connect_over_network))
    await there.wait()

    await end([task])  # it insists: a wait of the driver that has just ended loses one cancellation before Python 3.12

    assert task.cancelled()


async def test_connecting_that_fails_at_that_moment_is_cancelled_all_the_same() -> None:
    # The driver's wait for the socket would report only the failure, and lose the cancellation.
    address = Address.parse("mysql://user:pass@127.0.0.1:9/calls")
    for turns in range(10):
        task = asyncio.create_task(Connection.open(address, PATIENCE_SECONDS, connect_over_network))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            assert isinstance(task.exception(), StoreUnavailable)
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

"""Opens AMQP connections to RabbitMQ. If the broker refuses one, the error has the broker's own words."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import aiormq.exceptions
from pamqp.common import FieldTable

from ingest.broker.amqp.reasons import words_of
from ingest.broker.amqp.transport import ConfirmTransport
from ingest.broker.amqp.wire import ConfirmReader
from ingest.failover import FailoverHosts, each_host

HEARTBEAT_SECONDS = 10
"""RabbitMQ accepts the client's interval instead of its own proposal."""
BLOCKED_SECONDS = 0.01
"""A connection that is not ready after this time is blocked. One that is not blocked is ready at once."""
CLOSE_SECONDS = 2.0
CLIENT: FieldTable = {"connection_name": "call-events-ingest"}


class ConfirmingConnection(aio_pika.Connection):
    """aio-pika's connection, with a reader of its own for confirms."""

    def __init__(self, url: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(url, *args, **kwargs)
        self.confirms = ConfirmReader(time.monotonic)
        self.kwargs["transport_factory"] = ConfirmTransport(self.confirms)


async def connect(url: str, timeout_seconds: float) -> ConfirmingConnection:
    """Connect to the first of the URL's hosts that answers within the timeout. For commands, which connect once.

    Raises OSError, TimeoutError or aiormq's AMQPError.
    """
    return await FailoverHosts(each_host(url)).connected(lambda one: open_connection(one, timeout=timeout_seconds))


@asynccontextmanager
async def closing(connection: ConfirmingConnection) -> AsyncIterator[ConfirmingConnection]:
    """Close the connection at the end, or leave it open if RabbitMQ does not answer. For commands, which end soon."""
    try:
        yield connection
    finally:
        await asyncio.wait([asyncio.ensure_future(connection.close())], timeout=CLOSE_SECONDS)


async def open_connection(url: str, **options: Any) -> ConfirmingConnection:
    """Raises OSError, TimeoutError or aiormq's AMQPError."""
    try:
        connection: ConfirmingConnection = await aio_pika.connect(
            url, client_properties=CLIENT, connection_class=ConfirmingConnection, **options
        )
    except aiormq.exceptions.InvalidFrameError as exc:
        raise ConnectionRefusedError(words_of(exc)) from exc
    return connection


async def is_blocked(connection: aio_pika.abc.AbstractConnection) -> bool:
    """Return True while RabbitMQ blocks the connection because of its memory or disk alarm."""
    if connection.transport is None:
        return False
    try:
        async with asyncio.timeout(BLOCKED_SECONDS):
            await connection.transport.connection.ready()  # waits while RabbitMQ blocks it
    except TimeoutError:
        return True
    return False

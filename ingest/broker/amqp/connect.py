"""Opens AMQP connections to RabbitMQ. If the broker refuses one, the error has the broker's own words."""

import asyncio
from typing import Any

import aio_pika
import aiormq.exceptions
from pamqp.common import FieldTable

from ingest.broker.amqp.reasons import words_of
from ingest.failover import FailoverHosts, each_host

HEARTBEAT_SECONDS = 10
"""RabbitMQ accepts the client's interval instead of its own proposal."""
BLOCKED_SECONDS = 0.01
"""A connection that is not ready after this time is blocked. One that is not blocked is ready at once."""
CLIENT: FieldTable = {"connection_name": "call-events-ingest"}


async def connect(url: str, timeout_seconds: float) -> aio_pika.abc.AbstractConnection:
    """Connect to the first of the URL's hosts that answers within the timeout. For commands, which connect once.

    Raises OSError, TimeoutError or aiormq's AMQPError.
    """
    return await FailoverHosts(each_host(url)).connected(lambda one: open_connection(one, timeout=timeout_seconds))


async def open_connection(url: str, **options: Any) -> aio_pika.abc.AbstractConnection:
    """Raises OSError, TimeoutError or aiormq's AMQPError."""
    try:
        connection: aio_pika.abc.AbstractConnection = await aio_pika.connect(url, client_properties=CLIENT, **options)
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

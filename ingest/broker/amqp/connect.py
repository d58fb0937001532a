"""A connection to RabbitMQ over AMQP, with the broker's own words where it refuses one."""

from typing import Any

import aio_pika
import aiormq.exceptions
from pamqp.common import FieldTable

from ingest.broker.amqp.reasons import words_of
from ingest.failover import FailoverHosts, each_host

HEARTBEAT_SECONDS = 10
"""Asked for, whatever the server proposes: RabbitMQ takes the client's."""
CLIENT: FieldTable = {"connection_name": "call-events-ingest"}


async def connect(url: str, timeout_seconds: float) -> aio_pika.abc.AbstractConnection:
    """For what needs it once: to the first of the URL's hosts that answers.

    Each host has so long. Raises OSError, TimeoutError or aiormq's AMQPError.
    """
    return await FailoverHosts(each_host(url)).connected(lambda one: open_connection(one, timeout=timeout_seconds))


async def open_connection(url: str, **options: Any) -> aio_pika.abc.AbstractConnection:
    """Raises OSError, TimeoutError or aiormq's AMQPError."""
    try:
        connection: aio_pika.abc.AbstractConnection = await aio_pika.connect(url, client_properties=CLIENT, **options)
    except aiormq.exceptions.InvalidFrameError as exc:
        raise ConnectionRefusedError(words_of(exc)) from exc
    return connection

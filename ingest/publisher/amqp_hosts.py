"""A connection to RabbitMQ over AMQP for what needs it once: to the first of the URL's hosts that answers."""

import aio_pika

from ingest.hosts import Rota, each_host


async def connect(url: str, timeout_seconds: float) -> aio_pika.abc.AbstractConnection:
    """Each host has so long. Raises OSError, TimeoutError or aiormq's AMQPError."""
    return await Rota(each_host(url)).connected(lambda one: aio_pika.connect(one, timeout=timeout_seconds))

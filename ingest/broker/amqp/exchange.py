"""Declares the topic exchange idempotently, and binds the queue to it."""

import logging
import re

import aio_pika
import aiormq.exceptions

from ingest.errors import BrokerUnavailable

log = logging.getLogger("ingest.publisher")

TOPIC = "topic"
EVERY_KEY = "#"
"""The binding of the queue: it gets every message."""
FATAL = ("type", "internal")
"""Differences of an existing exchange with which it does not route every message, or takes none."""

_DIFFERENCE = re.compile(r"inequivalent arg '([\w-]+)'.*current is '?(\w+)'?")


async def declare_exchange(connection: aio_pika.abc.AbstractConnection, name: str, *, keep_quiet: bool = False) -> bool:
    """Make sure that the durable topic exchange exists. Raises `BrokerUnavailable`, aiormq's AMQPError or OSError.

    Return False if its type is unknown: RabbitMQ compares it for users with the configure permission only. A refused
    declaration closes its channel, so each try uses a new channel. `keep_quiet` logs nothing.
    """
    try:
        await _on_own_channel(connection, name, passive=False)
    except aiormq.exceptions.ChannelPreconditionFailed as exc:
        difference = _DIFFERENCE.search(str(exc))
        if difference is None or difference[1] in FATAL:
            raise BrokerUnavailable(problem_of_difference(name, str(exc))) from exc
        if not keep_quiet:
            log.warning(
                "RabbitMQ's exchange exists with other arguments; it is used as it is",
                extra={"exchange": name, "reason": str(exc)},
            )
    except aiormq.exceptions.ChannelAccessRefused as exc:
        await _is_there(connection, name, exc)  # the user may publish, but not configure
        return False
    return True


def problem_of_difference(name: str, words: str) -> str:
    """Say what is wrong with an existing exchange. `words` are the broker's."""
    difference = _DIFFERENCE.search(words)
    kind = f"its {difference[1]} is {difference[2]}" if difference else words
    return (
        f"INGEST_EXCHANGE={name} needs a topic exchange, but RabbitMQ has one of this name that differs: {kind}. "
        "Nothing is published; events wait in the database. Set another name, or delete the exchange."
    )


async def _is_there(connection: aio_pika.abc.AbstractConnection, name: str, refused: Exception) -> None:
    try:
        await _on_own_channel(connection, name, passive=True)
    except aiormq.exceptions.ChannelNotFoundEntity:
        raise BrokerUnavailable(
            f"There is no exchange INGEST_EXCHANGE={name}, and this user may not declare it ({refused}). Grant the "
            "configure permission on it, or declare it by hand: durable, of the type topic."
        ) from None


async def bind(connection: aio_pika.abc.AbstractConnection, exchange: str, queue: str) -> None:
    """Bind the queue to every key. An existing binding stays. Raises `BrokerUnavailable`, AMQPError or OSError.

    RabbitMQ also confirms messages that only other queues get, and nothing shows a binding over AMQP. So a user who may
    not bind publishes nothing.
    """
    try:
        async with connection.channel(publisher_confirms=False) as channel:
            raw = await channel.get_underlay_channel()
            await raw.queue_bind(queue, exchange, routing_key=EVERY_KEY)
    except aiormq.exceptions.ChannelAccessRefused as exc:
        raise BrokerUnavailable(
            f"This user may not bind the queue {queue} to the exchange {exchange} ({exc}). Grant the permissions to "
            "write to the queue and to read from the exchange. Nothing is published; events wait in the database."
        ) from exc


async def _on_own_channel(connection: aio_pika.abc.AbstractConnection, name: str, *, passive: bool) -> None:
    async with connection.channel(publisher_confirms=False) as channel:
        raw = await channel.get_underlay_channel()
        await raw.exchange_declare(name, exchange_type=TOPIC, durable=True, passive=passive)

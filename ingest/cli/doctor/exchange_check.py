"""Checks the exchange of `INGEST_EXCHANGE`: whether it is a topic exchange, and whether queues may be bound to it."""

import aiormq.exceptions

from ingest.broker.amqp.connect import ConfirmingConnection, closing
from ingest.broker.amqp.exchange import declare_exchange
from ingest.cli.doctor.broker_connection import open_broker
from ingest.errors import IngestError
from ingest.settings import Settings

OWN_KEY = "ingest-doctor"


async def check_exchange(settings: Settings) -> str:
    """Raises `BrokerUnavailable` or `IngestError`. Declares nothing that is not there."""
    name = settings.exchange
    async with closing(await open_broker(settings)) as connection:
        try:
            async with connection.channel(publisher_confirms=False) as channel:
                await (await channel.get_underlay_channel()).exchange_declare(name, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return f"{name} is not there yet; `ingest serve` declares it and binds the queue {settings.queue}"
        known = await declare_exchange(connection, name, keep_quiet=True)  # it is there, so this only compares
        bound = await _try_binding(connection, settings)
    kind = "is a topic exchange" if known else "is there, and this user may not see its type"
    return f"{name} {kind}{'; a queue can be bound to it' if bound else ''}"


async def _try_binding(connection: ConfirmingConnection, settings: Settings) -> bool:
    """Bind a queue that ends with the connection. Return False if the user may not declare one."""
    async with connection.channel(publisher_confirms=False) as channel:
        try:
            queue = await channel.declare_queue(exclusive=True)
        except aiormq.exceptions.ChannelAccessRefused:
            return False
        try:
            await queue.bind(settings.exchange, OWN_KEY)
        except aiormq.exceptions.ChannelAccessRefused as exc:
            raise IngestError(
                f"{settings.exchange} is there, but this user may not bind a queue to it ({exc}). Grant the "
                f"permissions to read from the exchange, and to write to the queue {settings.queue}."
            ) from exc
    return True

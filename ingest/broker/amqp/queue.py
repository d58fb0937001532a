"""Declares RabbitMQ's queue idempotently, and its exchange if there is one. An existing queue is used as it is."""

import logging
from typing import Any

import aio_pika
import aiormq.exceptions
import msgspec

from ingest.broker.amqp.exchange import bind, declare_exchange
from ingest.events.routing_key import Destination

log = logging.getLogger("ingest.publisher")

UNLIMITED_DELIVERIES_SINCE = 4
"""From RabbitMQ 4 on, a quorum queue drops a message after 20 returns by its consumers, unless it has a limit of -1."""


class QueueDeclaration(msgspec.Struct, frozen=True):
    """The durable queue `name`. `kind` is quorum or classic."""

    name: str
    kind: str
    routed_to: Destination | None = None
    """The topic exchange to which the queue is bound. None for the default exchange."""

    @property
    def destination(self) -> Destination:
        return self.routed_to or Destination.of_queue(self.name)

    async def declare(self, connection: aio_pika.abc.AbstractConnection) -> None:
        """Make sure that queue, exchange and binding exist. Raises `BrokerUnavailable`, AMQPError or OSError."""
        await self._declare_queue(connection)
        await self._route(connection)

    async def renew(self, connection: aio_pika.abc.AbstractConnection) -> bool:
        """Make sure that exchange and binding exist. Return False if the queue was deleted: it is not declared here.

        Raises `BrokerUnavailable`, AMQPError or OSError.
        """
        try:
            await self._on_own_channel(connection, passive=True)
            await self._route(connection)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return False
        return True

    async def _route(self, connection: aio_pika.abc.AbstractConnection) -> None:
        if self.routed_to:
            await declare_exchange(connection, self.routed_to.exchange)
            await bind(connection, self.routed_to.exchange, self.name)

    async def _declare_queue(self, connection: aio_pika.abc.AbstractConnection) -> None:
        """A refused declaration closes its channel, so each try uses a new channel."""
        try:
            await self._on_own_channel(connection, passive=False)
        except aiormq.exceptions.ChannelPreconditionFailed as exc:
            await self._is_there(connection, exc)
            log.warning(
                "RabbitMQ's queue exists with other arguments; it is used as it is",
                extra={"queue": self.name, "wanted": self.arguments(connection), "reason": str(exc)},
            )
        except aiormq.exceptions.ChannelAccessRefused as exc:
            await self._is_there(connection, exc)  # the user may publish, but not configure

    async def _is_there(self, connection: aio_pika.abc.AbstractConnection, refused: Exception) -> None:
        """Raise the declaration's error if the queue does not exist: its words say why."""
        try:
            await self._on_own_channel(connection, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            raise refused from None

    async def _on_own_channel(self, connection: aio_pika.abc.AbstractConnection, *, passive: bool) -> None:
        async with connection.channel(publisher_confirms=False) as channel:
            arguments = None if passive else self.arguments(connection)
            await channel.declare_queue(self.name, durable=True, passive=passive, arguments=arguments)

    def arguments(self, connection: aio_pika.abc.AbstractConnection) -> dict[str, Any]:
        arguments: dict[str, Any] = {"x-queue-type": self.kind}
        if self.kind == "quorum" and major_version(connection) >= UNLIMITED_DELIVERIES_SINCE:
            arguments["x-delivery-limit"] = -1
        return arguments


def major_version(connection: aio_pika.abc.AbstractConnection) -> int:
    """Return the major version of RabbitMQ; 0 if it names none."""
    transport: Any = connection.transport
    version = str(transport.connection.server_properties.get("version", "0"))
    return int(version.partition(".")[0]) if version.partition(".")[0].isdigit() else 0

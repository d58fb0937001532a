"""One connection of aio-pika with its queue declared and a pool of confirming channels."""

import asyncio
import logging
from collections.abc import Sequence

import aio_pika
import aiormq.exceptions

from ingest.errors import BrokerUnavailable
from ingest.publisher.amqp_channel import ConfirmingChannel
from ingest.publisher.amqp_queue import QueueDeclaration
from ingest.publisher.base import Lane
from ingest.publisher.supervisor import Connection, text_of
from ingest.tasks import raise_if_cancelled

log = logging.getLogger("ingest.publisher")

HEARTBEAT_SECONDS = 10
BLOCKED_SECONDS = 0.01
"""A connection that is not ready after so long is blocked; one that is not takes no time to say so."""
ERRORS = (TimeoutError, OSError, aiormq.exceptions.AMQPError, RuntimeError)


class AmqpConnection(Connection):
    """The first channel is the live lane's, for its order; the relay has the others."""

    def __init__(
        self,
        raw: aio_pika.abc.AbstractConnection,
        channels: Sequence[ConfirmingChannel],
        declaration: QueueDeclaration,
        timeout_seconds: float,
    ) -> None:
        super().__init__()
        self._raw = raw
        self._channels = channels
        self._declaration = declaration
        self._timeout_seconds = timeout_seconds
        self._declaring = asyncio.Lock()
        for channel in channels:
            channel.closed.add_done_callback(lambda _: self.drop("The connection to RabbitMQ was lost."))

    @classmethod
    async def open(
        cls, url: str, declaration: QueueDeclaration, channels_max: int, timeout_seconds: float
    ) -> "AmqpConnection":
        """Connect, declare the queue and open the channels. Raises one of `ERRORS` if any of it fails."""
        async with asyncio.timeout(timeout_seconds):
            raw = await aio_pika.connect(
                url, heartbeat=HEARTBEAT_SECONDS, client_properties={"connection_name": "call-events-ingest"}
            )
            try:
                await declaration.declare(raw)
                channels = [await ConfirmingChannel.open(raw, declaration.name) for _ in range(channels_max)]
            except BaseException:
                await _close(raw, timeout_seconds)
                raise
        return cls(raw, channels, declaration, timeout_seconds)

    async def blocked(self) -> bool:
        transport = self._raw.transport
        if transport is None:
            return False
        try:
            async with asyncio.timeout(BLOCKED_SECONDS):
                await transport.connection.ready()  # waits as long as RabbitMQ blocks it
        except TimeoutError:
            return True
        return False

    def channel(self, lane: Lane) -> ConfirmingChannel:
        if lane == "live":
            return self._channels[0]
        return min(self._channels[1:], key=len)

    async def declare_again(self) -> None:
        """The queue was deleted. One caller declares it, the others find it there."""
        try:
            async with asyncio.timeout(self._timeout_seconds), self._declaring:
                await self._declaration.declare(self._raw)
        except (*ERRORS, asyncio.CancelledError) as exc:
            raise_if_cancelled(exc)
            reason = f"RabbitMQ's queue could not be declared: {text_of(exc)}"
            self.drop(reason)
            raise BrokerUnavailable(reason) from exc

    def drop(self, reason: str) -> None:
        super().drop(reason)
        for channel in self._channels:
            channel.fail(reason)

    async def close(self) -> None:
        await _close(self._raw, self._timeout_seconds)


async def _close(raw: aio_pika.abc.AbstractConnection, timeout_seconds: float) -> None:
    try:
        async with asyncio.timeout(timeout_seconds):
            await raw.close()
    except (*ERRORS, asyncio.CancelledError) as exc:
        raise_if_cancelled(exc)
        log.debug("closing the lost connection failed", extra={"reason": text_of(exc)})

"""The publisher on RabbitMQ's queues, through aio-pika: a pool of confirming channels."""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any

import aio_pika
import aiormq.exceptions

from ingest.batches import Batch
from ingest.errors import BrokerUnavailable, NotConfirmed
from ingest.publisher.amqp_channel import ConfirmingChannel
from ingest.publisher.amqp_queue import QueueDeclaration
from ingest.publisher.base import Lane
from ingest.publisher.confirms import Pending

log = logging.getLogger("ingest.publisher")

HEARTBEAT_SECONDS = 10
TRIES_MAX = 3
TRY_PAUSE_SECONDS = 0.1
"""A refused message is sent again this often, a little later each time, before the relay has it."""
BACKOFF_SECONDS = 0.2


class AmqpPublisher:
    """See `ingest.publisher.base.Publisher`. The first channel is the live lane's, for its order."""

    def __init__(
        self,
        url: str,
        declaration: QueueDeclaration,
        *,
        channels_max: int,
        confirm_timeout_seconds: float,
        connect_timeout_seconds: float,
        reconnect_seconds_max: float,
    ) -> None:
        self._url = url
        self._declaration = declaration
        self._channels_max = channels_max
        self._confirm_timeout_seconds = confirm_timeout_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._reconnect_seconds_max = reconnect_seconds_max
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._channels: Sequence[ConfirmingChannel] = ()
        self._problem: str | None = "Not connected to RabbitMQ yet."
        self._lost = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._declaring = asyncio.Lock()

    @property
    def ready(self) -> bool:
        return self._problem is None

    @property
    def problem(self) -> str | None:
        return self._problem

    async def start(self) -> None:
        self._supervisor = asyncio.create_task(self._supervise(), name="amqp-supervisor")

    async def close(self) -> None:
        if self._supervisor:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
            self._supervisor = None

    async def publish(self, batch: Batch, lane: Lane = "live") -> None:
        positions: Sequence[int] = range(len(batch))
        rest = batch
        for attempt in range(TRIES_MAX):
            pending = await self._confirmed(self._channel(lane), rest)
            refused = sorted(pending.refused | pending.returned)
            if not refused:
                return
            positions = [positions[index] for index in refused]
            rest = _picked(batch, positions)
            if pending.returned:
                await self._declare_again()
            await asyncio.sleep(TRY_PAUSE_SECONDS * 2**attempt)
        raise NotConfirmed(f"RabbitMQ refused {len(positions)} of {len(batch)} messages.", positions)

    def _channel(self, lane: Lane) -> ConfirmingChannel:
        if self._problem is not None or not self._channels:
            raise BrokerUnavailable(self._problem)
        if lane == "live":
            return self._channels[0]
        return min(self._channels[1:], key=len)

    async def _confirmed(self, channel: ConfirmingChannel, batch: Batch) -> Pending:
        try:
            async with asyncio.timeout(self._confirm_timeout_seconds):
                pending = await channel.write(batch)
                await pending.done
                return pending
        except TimeoutError as exc:
            # A blocked connection (memory or disk alarm) looks just like this; what piled up on it
            # is dropped with it, and published again from the outbox.
            reason = f"RabbitMQ did not confirm within {self._confirm_timeout_seconds:g} s."
            self._drop(reason)
            raise BrokerUnavailable(reason) from exc

    async def _declare_again(self) -> None:
        """The queue was deleted. One caller declares it, the others find it there."""
        connection = self._connection
        try:
            async with self._declaring, asyncio.timeout(self._connect_timeout_seconds):
                if connection is not None:
                    await self._declaration.declare(connection)
        except (TimeoutError, OSError, aiormq.exceptions.AMQPError) as exc:
            self._drop(f"RabbitMQ's queue could not be declared: {_text(exc)}")
            raise BrokerUnavailable(self._problem) from exc

    def _drop(self, reason: str) -> None:
        if self._problem is None:
            self._problem = reason
        self._lost.set()

    async def _supervise(self) -> None:
        """Connect, wait for a loss, connect again: exponential backoff with full jitter."""
        attempt = 0
        while True:
            try:
                await self._connect()
                attempt = 0
                await self._lost.wait()
            except (TimeoutError, OSError, aiormq.exceptions.AMQPError, RuntimeError) as exc:
                if attempt == 0:
                    log.warning("RabbitMQ connection failed", extra={"reason": _text(exc)})
                self._problem = f"RabbitMQ is not reachable: {_text(exc)}"
            finally:
                await self._disconnect()
            limit = min(self._reconnect_seconds_max, BACKOFF_SECONDS * 2**attempt)
            attempt = min(attempt + 1, 16)
            await asyncio.sleep(random.uniform(limit / 4, limit))  # noqa: S311 - jitter, not a secret

    async def _connect(self) -> None:
        self._lost.clear()
        async with asyncio.timeout(self._connect_timeout_seconds):
            connection = await aio_pika.connect(
                self._url, heartbeat=HEARTBEAT_SECONDS, client_properties={"connection_name": "call-events-ingest"}
            )
            self._connection = connection
            await self._declaration.declare(connection)
            channels = [
                await ConfirmingChannel.open(connection, self._declaration.name) for _ in range(self._channels_max)
            ]
        for channel in channels:
            channel.closed.add_done_callback(lambda _: self._drop("The connection to RabbitMQ was lost."))
        self._channels = channels
        self._problem = None
        log.info("RabbitMQ connected", extra={"queue": self._declaration.name})

    async def _disconnect(self) -> None:
        """Close what is left of the connection, within a bound: a frozen broker answers nothing."""
        connection, self._connection, self._channels = self._connection, None, ()
        if self._problem is None:
            self._problem = "Not connected to RabbitMQ."
        elif connection is not None:
            log.warning("RabbitMQ connection lost", extra={"reason": self._problem})
        if connection is None:
            return
        try:
            async with asyncio.timeout(self._connect_timeout_seconds):
                await connection.close()
        except (TimeoutError, OSError, aiormq.exceptions.AMQPError, RuntimeError) as exc:
            log.debug("closing the lost connection failed", extra={"reason": _text(exc)})


def _picked(batch: Batch, positions: Sequence[int]) -> Batch:
    ids = [batch.ids[position] for position in positions]
    return Batch(ids, [batch.events[position] for position in positions], batch.created_us)


def _text(exc: BaseException | Any) -> str:
    """Short, and without the URL's password, which no exception of aio-pika quotes."""
    return f"{type(exc).__name__}: {str(exc)[:160]}"

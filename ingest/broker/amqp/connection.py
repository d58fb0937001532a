"""One connection of aio-pika with its queue declared and a pool of confirming channels."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

import aio_pika
import aiormq.exceptions

from ingest.broker.amqp.channel import LOST, ConfirmingChannel
from ingest.broker.amqp.confirms import Pending
from ingest.broker.amqp.connect import HEARTBEAT_SECONDS, open_connection
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.broker.amqp.reasons import Closed, ClosedByBroker, of_connection, words_of
from ingest.broker.base import Priority
from ingest.broker.supervisor import Connection
from ingest.errors import BrokerUnavailable
from ingest.events.batch import Batch
from ingest.tasks import raise_if_cancelled

log = logging.getLogger("ingest.publisher")

BLOCKED_SECONDS = 0.01
"""A connection that is not ready after so long is blocked; one that is not takes no time to say so."""
ERRORS = (TimeoutError, OSError, aiormq.exceptions.AMQPError, RuntimeError)


class FewerChannels(OSError):
    """The broker closed the connection as more channels than `count` were opened."""

    def __init__(self, count: int, reason: str) -> None:
        super().__init__(reason)
        self.count = count


class AmqpConnection(Connection):
    """The first channel is the live lane's, for its order; the relay has the others.

    A broker that allows few channels gets fewer: one is kept free to declare the queue again, and with one channel
    alone the relay publishes a batch at a time on it, so that live batches wait for no more than that.
    """

    def __init__(
        self,
        raw: aio_pika.abc.AbstractConnection,
        channels: Sequence[ConfirmingChannel],
        declaration: QueueDeclaration,
        timeout_seconds: float,
    ) -> None:
        super().__init__()
        self._raw = raw
        self._channels = list(channels)
        self._declaration = declaration
        self._timeout_seconds = timeout_seconds
        self._declaring = asyncio.Lock()
        self._relay_turn = asyncio.Lock()
        self._reopening: set[asyncio.Task[None]] = set()
        self._whole = asyncio.Event()
        self._whole.set()
        for at in range(len(channels)):
            self._watch(at)

    @classmethod
    async def open(
        cls, url: str, declaration: QueueDeclaration, channels_max: int, timeout_seconds: float
    ) -> "AmqpConnection":
        """Connect, declare the queue and open the channels. Raises one of `ERRORS` if any of it fails."""
        async with asyncio.timeout(timeout_seconds):
            raw = await open_connection(url, heartbeat=HEARTBEAT_SECONDS)
            try:
                await declaration.declare(raw)
                channels = await _open_channels(raw, declaration.name, channels_max)
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

    def turn(self, priority: Priority) -> AbstractAsyncContextManager[object]:
        """Held from before a batch is written until it is confirmed."""
        return self._relay_turn if priority == "relay" and len(self._channels) == 1 else nullcontext()

    async def write(self, batch: Batch, priority: Priority) -> Pending:
        """See `ConfirmingChannel.write`. Waits for a channel that is opened again."""
        while True:
            await self._whole.wait()
            if self.problem:
                raise BrokerUnavailable(self.problem)
            pending = await self._channel(priority).write(batch)
            if pending:
                return pending

    async def declare_again(self) -> None:
        """The queue was deleted. One caller declares it, the others find it there."""
        if _channel_numbers_max(self._raw) <= len(self._channels):
            reason = "RabbitMQ's queue was deleted; it is declared with the next connection, as no channel is left."
            self.drop(reason)
            raise BrokerUnavailable(reason)
        try:
            async with asyncio.timeout(self._timeout_seconds), self._declaring:
                await self._declaration.declare(self._raw)
        except (*ERRORS, asyncio.CancelledError) as exc:
            raise_if_cancelled(exc)
            reason = f"RabbitMQ's queue could not be declared: {words_of(exc)}"
            self.drop(reason)
            raise BrokerUnavailable(reason) from exc

    def drop(self, reason: str) -> None:
        self._drop(reason, None)

    def _drop(self, reason: str, closed: Closed | None) -> None:
        super().drop(reason)
        for channel in self._channels:
            channel.fail(partial(_error, reason, closed))
        self._whole.set()

    async def close(self) -> None:
        for task in self._reopening:
            task.cancel()
        await _close(self._raw, self._timeout_seconds)

    def _channel(self, priority: Priority) -> ConfirmingChannel:
        if priority == "live" or len(self._channels) == 1:
            return self._channels[0]
        return min(self._channels[1:], key=len)

    def _watch(self, at: int) -> None:
        channel = self._channels[at]
        channel.on_closed = partial(self._channel_closed, at)
        channel.ended.add_done_callback(partial(self._channel_ended, channel))

    def _channel_closed(self, at: int, closed: Closed) -> None:
        """The broker closed this one channel: for a message it is opened again, for anything else that is an outage."""
        if not closed.by_a_message or self.problem:
            self._drop(f"RabbitMQ closed the channel: {closed}", closed)
            return
        log.warning(
            "RabbitMQ closed a channel, for a message as it seems; the channel is opened again",
            extra={"reason": str(closed), "in_flight": len(self._channels[at]), **closed.bytes_told},
        )
        self._whole.clear()
        self._channels[at].fail(partial(ClosedByBroker, closed))
        task = asyncio.get_running_loop().create_task(self._reopen(at), name="broker-channel")
        self._reopening.add(task)
        task.add_done_callback(self._reopening.discard)

    def _channel_ended(self, channel: ConfirmingChannel, ended: "asyncio.Future[object]") -> None:
        if channel.closed_by_broker:
            return
        closed = None if ended.cancelled() else of_connection(ended.exception())
        self._drop(f"RabbitMQ closed the connection: {closed}" if closed else LOST, closed)

    async def _reopen(self, at: int) -> None:
        closed = self._channels[at]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await asyncio.wait([closed.ended])  # its number is free then
                self._channels[at] = await ConfirmingChannel.open(self._raw, self._declaration.name, closed.number)
        except (*ERRORS, asyncio.CancelledError) as exc:
            raise_if_cancelled(exc)
            self.drop(f"RabbitMQ's channel could not be opened again: {words_of(exc)}")
            return
        self._watch(at)
        if self.problem:
            self._channels[at].fail(partial(_error, self.problem, None))
        if len(self._reopening) == 1:
            self._whole.set()


async def _open_channels(
    raw: aio_pika.abc.AbstractConnection, queue: str, channels_max: int
) -> Sequence[ConfirmingChannel]:
    count = channels_allowed(raw, channels_max)
    if count < channels_max:
        log.warning(
            "RabbitMQ allows fewer channels than INGEST_CHANNELS_MAX; it gets as many as it allows",
            extra={"channels_max": channels_max, "used": count},
        )
    channels: list[ConfirmingChannel] = []
    for number in range(1, count + 1):
        try:
            channels.append(await ConfirmingChannel.open(raw, queue, number))
        except aiormq.exceptions.ConnectionNotAllowed as exc:
            raise FewerChannels(max(1, number - 2), words_of(exc)) from exc
    return channels


def channels_allowed(raw: aio_pika.abc.AbstractConnection, channels_max: int) -> int:
    """How many of `channels_max` may be open for long; one is kept free if the broker allows more than one."""
    return min(channels_max, max(1, _channel_numbers_max(raw) - 1))


def _channel_numbers_max(raw: aio_pika.abc.AbstractConnection) -> int:
    """The highest number that a channel may have, as negotiated; 0 means no limit but the protocol's."""
    return (raw.transport.connection.connection_tune.channel_max if raw.transport else 0) or 65_535


def _error(reason: str, closed: Closed | None) -> BrokerUnavailable:
    return ClosedByBroker(closed) if closed and closed.by_a_message else BrokerUnavailable(reason)


async def _close(raw: aio_pika.abc.AbstractConnection, timeout_seconds: float) -> None:
    try:
        async with asyncio.timeout(timeout_seconds):
            await raw.close()
    except (*ERRORS, asyncio.CancelledError) as exc:
        raise_if_cancelled(exc)
        log.debug("closing the lost connection failed", extra={"reason": words_of(exc)})

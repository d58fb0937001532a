"""One connection of aio-pika, with its declared queue and a pool of confirming channels."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from functools import partial

import aio_pika
import aiormq.exceptions

from ingest.broker.amqp.channel import LOST, ConfirmingChannel, channel_numbers_max, open_channels
from ingest.broker.amqp.confirms import Pending
from ingest.broker.amqp.connect import HEARTBEAT_SECONDS, ConfirmingConnection, is_blocked, open_connection
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.broker.amqp.reasons import Closed, ClosedByBroker, of_connection, words_of
from ingest.broker.base import Priority
from ingest.broker.supervisor import Connection
from ingest.errors import BrokerUnavailable
from ingest.events.batch import Batch
from ingest.tasks import raise_if_cancelled

log = logging.getLogger("ingest.publisher")

ERRORS = (TimeoutError, OSError, aiormq.exceptions.AMQPError, RuntimeError)
LOOK_SECONDS = 10.0
"""Interval at which a connection looks for its queue, if an exchange routes to it."""


class AmqpConnection(Connection):
    """Live batches use the first channel, which keeps their order. The relay uses the others.

    If the broker allows fewer channels, one stays free to declare the queue again. On a single channel the
    relay publishes one batch at a time, so a live batch waits for at most one of them.
    """

    def __init__(
        self,
        raw: ConfirmingConnection,
        channels: Sequence[ConfirmingChannel],
        declaration: QueueDeclaration,
        timeout_seconds: float,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        super().__init__()
        self._look_seconds = look_seconds
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
        cls,
        url: str,
        declaration: QueueDeclaration,
        channels_max: int,
        timeout_seconds: float,
        look_seconds: float = LOOK_SECONDS,
    ) -> "AmqpConnection":
        """Connect, declare the queue and open the channels. Raises one of `ERRORS`."""
        async with asyncio.timeout(timeout_seconds):
            raw = await open_connection(url, heartbeat=HEARTBEAT_SECONDS)
            try:
                await declaration.declare(raw)
                channels = await open_channels(raw, declaration.destination, channels_max)
            except BaseException:
                await _close(raw, timeout_seconds)
                raise
        return cls(raw, channels, declaration, timeout_seconds, look_seconds)

    async def blocked(self) -> bool:
        return await is_blocked(self._raw)

    def turn(self, priority: Priority) -> AbstractAsyncContextManager[object]:
        """Return a lock to hold from before a batch is written until it is confirmed."""
        return self._relay_turn if priority == "relay" and len(self._channels) == 1 else nullcontext()

    async def write(self, batch: Batch, priority: Priority) -> Pending:
        """See `ConfirmingChannel.write`. Waits while a closed channel is opened again."""
        while True:
            await self._whole.wait()
            if self.problem:
                raise BrokerUnavailable(self.problem)
            pending = await self._channel(priority).write(batch)
            if pending:
                return pending

    async def until_lost(self) -> None:
        """Also look for the queue regularly if an exchange routes to it.

        The default exchange returns messages to a deleted queue. Another exchange may route them to other queues, and
        RabbitMQ then confirms them.
        """
        if self._declaration.routed_to is None:
            await super().until_lost()
        while self.problem is None:
            try:
                async with asyncio.timeout(self._look_seconds):
                    await super().until_lost()
            except TimeoutError:
                if self._has_free_channel and not await self.blocked():
                    await self._look()

    async def _look(self) -> None:
        """Renew the binding, as nothing shows a missing one. Tell of a deleted queue, and declare it again."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                there = await self._declaration.renew(self._raw)
        except (*ERRORS, BrokerUnavailable, asyncio.CancelledError) as exc:
            raise_if_cancelled(exc)
            self.drop(f"RabbitMQ's queue could not be bound: {_words(exc)}")
            return
        if there:
            return
        log.error(
            "RabbitMQ's queue was deleted; it is declared again. It misses the messages since the last look, which "
            "other queues may have: `ingest replay --since` publishes them again",
            extra={"queue": self._declaration.name, "look_seconds": self._look_seconds},
        )
        with suppress(BrokerUnavailable):  # which has dropped this connection
            await self.declare_again()

    @property
    def _has_free_channel(self) -> bool:
        return channel_numbers_max(self._raw) > len(self._channels)

    async def declare_again(self) -> None:
        """Declare the deleted queue. If several callers do, the first one declares it."""
        if not self._has_free_channel:
            reason = "RabbitMQ's queue was deleted. No channel is free to declare it; the next connection does so."
            self.drop(reason)
            raise BrokerUnavailable(reason)
        try:
            async with asyncio.timeout(self._timeout_seconds), self._declaring:
                await self._declaration.declare(self._raw)
        except (*ERRORS, BrokerUnavailable, asyncio.CancelledError) as exc:
            raise_if_cancelled(exc)
            reason = f"RabbitMQ's queue could not be declared: {_words(exc)}"
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
        """The broker closed this one channel. If a message is the reason, open it again. Otherwise it is an outage."""
        if not closed.by_a_message or self.problem:
            self._drop(f"RabbitMQ closed the channel: {closed}", closed)
            return
        log.warning(
            "RabbitMQ closed a channel, probably because of a message; the channel is opened again",
            extra={"reason": str(closed), "in_flight": len(self._channels[at]), **closed.sizes_to_log},
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
                await asyncio.wait([closed.ended])  # then its number is free
                destination = self._declaration.destination
                self._channels[at] = await ConfirmingChannel.open(self._raw, destination, closed.number)
        except (*ERRORS, asyncio.CancelledError) as exc:
            raise_if_cancelled(exc)
            self.drop(f"RabbitMQ's channel could not be opened again: {words_of(exc)}")
            return
        self._watch(at)
        if self.problem:
            self._channels[at].fail(partial(_error, self.problem, None))
        if len(self._reopening) == 1:
            self._whole.set()


def _error(reason: str, closed: Closed | None) -> BrokerUnavailable:
    return ClosedByBroker(closed) if closed and closed.by_a_message else BrokerUnavailable(reason)


def _words(exc: BaseException) -> str:
    return str(exc) if isinstance(exc, BrokerUnavailable) else words_of(exc)


async def _close(raw: aio_pika.abc.AbstractConnection, timeout_seconds: float) -> None:
    try:
        async with asyncio.timeout(timeout_seconds):
            await raw.close()
    except (*ERRORS, asyncio.CancelledError) as exc:
        raise_if_cancelled(exc)
        log.debug("closing the lost connection failed", extra={"reason": words_of(exc)})

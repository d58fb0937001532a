"""Confirming channels of aio-pika, to which whole batches are written."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import aio_pika
import aiormq.abc
import aiormq.exceptions
from pamqp.commands import Channel as ChannelMethods

from ingest.broker.amqp.confirms import ConfirmWindow, Pending
from ingest.broker.amqp.connect import ConfirmingConnection
from ingest.broker.amqp.frames import Marshaller
from ingest.broker.amqp.reasons import Closed, of_channel, words_of
from ingest.broker.amqp.wire import ConfirmReader
from ingest.errors import BrokerUnavailable
from ingest.events.batch import Batch
from ingest.events.routing_key import Destination

log = logging.getLogger("ingest.publisher")

LOST = "The connection to RabbitMQ was lost."
FULL_POLL_SECONDS = 0.005
"""Interval at which a full write queue is checked."""


class FewerChannels(OSError):
    """The broker closed the connection because this worker opened more than `count` channels."""

    def __init__(self, count: int, reason: str) -> None:
        super().__init__(reason)
        self.count = count


class ConfirmingChannel:
    """Marshals and writes a batch as one piece, and awaits one future for all of its confirms.

    aiormq's own publish needs a lock, a future and a task wake-up for each message (140 µs). So this class takes the
    confirms and returns off the wire, and replaces aiormq's hook for the channel's end. Nothing else publishes on it.
    """

    def __init__(self, raw: Any, destination: Destination, confirms: ConfirmReader) -> None:
        self._raw = raw  # an aiormq.Channel; Any, because the hook below is not part of its interface
        self._window = ConfirmWindow()
        confirms.deliver(self._raw.number, self._window)
        self._order = asyncio.Lock()
        frame_bytes_max = self._raw.connection.connection_tune.frame_max
        self._marshaller = Marshaller(self._raw.number, destination, frame_bytes_max)
        self._close_frame_done = self._raw._on_close_frame
        self._raw._on_close_frame = self._on_close
        self._failed: Callable[[], BrokerUnavailable] | None = None
        self.on_closed: Callable[[Closed], None] = lambda closed: None
        """Called as soon as the broker closes the channel but not the connection."""
        self.ended: asyncio.Future[Any] = self._raw.closing
        """Done once the channel or its connection has ended, for any reason."""
        self.closed_by_broker = False
        """True if the broker closed the channel but not the connection."""

    @classmethod
    async def open(cls, connection: ConfirmingConnection, destination: Destination, number: int) -> "ConfirmingChannel":
        channel = await connection.channel(number, publisher_confirms=True)
        return cls(await channel.get_underlay_channel(), destination, connection.confirms)

    def __len__(self) -> int:
        return len(self._window)

    @property
    def number(self) -> int:
        return int(self._raw.number)

    def fail(self, error: Callable[[], BrokerUnavailable]) -> None:
        """Make the channel unusable. All batches that wait for confirms fail with the error."""
        self._failed = self._failed or error
        self._window.fail(error)

    async def write(self, batch: Batch) -> Pending | None:
        """Pass the batch's frames to the connection's writer, in the order of the calls.

        Waits while the write queue is full, so callers need a deadline. Returns None, without writing, if the channel
        has failed. Raises `BrokerUnavailable` if the connection is lost.
        """
        async with self._order:
            if self._failed:
                return None
            if self._raw.is_closed:
                raise BrokerUnavailable(LOST)
            payload = self._marshaller.marshal(batch)
            await self._raw.write_queue.put(aiormq.abc.ChannelFrame(payload=payload, should_close=False))
            # No await in between: the tags must have the order in which the broker reads.
            pending = self._window.add(batch, asyncio.get_running_loop().create_future())
            if self._failed:  # it failed while the write queue was full: nothing else would end the wait
                self._window.fail(self._failed)
            return pending

    async def _on_close(self, frame: ChannelMethods.Close) -> None:
        self.closed_by_broker = True
        self.on_closed(of_channel(frame))
        async with self._order:  # No frame of this channel may follow its `close-ok`.
            # If the write queue is full, aiormq omits `close-ok`, and the broker waits for it forever.
            while self._raw.write_queue.full():  # noqa: ASYNC110 - aiormq has no event for it
                await asyncio.sleep(FULL_POLL_SECONDS)
            await self._close_frame_done(frame)


async def open_channels(
    raw: ConfirmingConnection, destination: Destination, channels_max: int
) -> Sequence[ConfirmingChannel]:
    count = channels_allowed(raw, channels_max)
    if count < channels_max:
        log.warning(
            "RabbitMQ allows fewer channels than INGEST_CHANNELS_MAX; the worker opens only these",
            extra={"channels_max": channels_max, "used": count},
        )
    channels: list[ConfirmingChannel] = []
    for number in range(1, count + 1):
        try:
            channels.append(await ConfirmingChannel.open(raw, destination, number))
        except aiormq.exceptions.ConnectionNotAllowed as exc:
            raise FewerChannels(max(1, number - 2), words_of(exc)) from exc
    return channels


def channels_allowed(raw: aio_pika.abc.AbstractConnection, channels_max: int) -> int:
    """Return the number of channels to open. One stays free if the broker allows more than one."""
    return min(channels_max, max(1, channel_numbers_max(raw) - 1))


def channel_numbers_max(raw: aio_pika.abc.AbstractConnection) -> int:
    """Return the highest channel number, as negotiated. RabbitMQ's 0 means the protocol's own limit."""
    return (raw.transport.connection.connection_tune.channel_max if raw.transport else 0) or 65_535

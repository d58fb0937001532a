"""One confirming channel of aio-pika, written to by whole batches."""

import asyncio
from collections.abc import Callable
from typing import Any

import aio_pika
import aiormq.abc
from pamqp.commands import Basic
from pamqp.commands import Channel as ChannelMethods

from ingest.broker.amqp.confirms import ConfirmWindow, Pending
from ingest.broker.amqp.frames import Marshaller
from ingest.broker.amqp.reasons import Closed, of_channel
from ingest.errors import BrokerUnavailable
from ingest.events.batch import Batch

LOST = "The connection to RabbitMQ was lost."
FULL_POLL_SECONDS = 0.005
"""How often a writer's queue that is full is looked at."""


class _ReturnedIds(dict[str, int]):
    """Takes the place of aiormq's `message_id_delivery_tag`, which it asks about a returned message.

    aiormq keeps an entry a message here; the window finds the message by its batch instead. aiormq asks before it reads
    on: the message's ack, which is behind the return, cannot overtake it.
    """

    def __init__(self, window: ConfirmWindow) -> None:
        self._window = window

    def get(self, message_id: str, default: Any = None) -> Any:  # asked for nothing but this
        self._window.returned(int(message_id))
        return 0  # a tag that is in no map: aiormq leaves it at that


class ConfirmingChannel:
    """Marshals a batch once, writes it at once, and awaits one future for all of its confirms.

    aiormq's own publish takes a lock, a future and a task wake-up for each message (140 µs); its
    hooks for confirms, returns and the channel's end are replaced on this one channel, which nobody else publishes on.
    """

    def __init__(self, raw: Any, queue: str) -> None:
        self._raw = raw  # an aiormq.Channel; Any, as the hooks below are no part of its interface
        self._window = ConfirmWindow()
        self._order = asyncio.Lock()
        frame_bytes_max = self._raw.connection.connection_tune.frame_max
        self._marshaller = Marshaller(self._raw.number, queue, frame_bytes_max)
        self._close_frame_done = self._raw._on_close_frame
        self._raw._on_confirm_frame = self._on_confirm
        self._raw._on_close_frame = self._on_close
        self._raw.message_id_delivery_tag = _ReturnedIds(self._window)
        self._failed: Callable[[], BrokerUnavailable] | None = None
        self.on_closed: Callable[[Closed], None] = lambda closed: None
        """Called as soon as the broker closes the channel and leaves the connection open."""
        self.ended: asyncio.Future[Any] = self._raw.closing
        """Done once the channel or its connection has ended, for whatever reason."""
        self.closed_by_broker = False
        """Whether the channel alone was closed."""

    @classmethod
    async def open(cls, connection: aio_pika.abc.AbstractConnection, queue: str, number: int) -> "ConfirmingChannel":
        channel = await connection.channel(number, publisher_confirms=True)
        return cls(await channel.get_underlay_channel(), queue)

    def __len__(self) -> int:
        return len(self._window)

    @property
    def number(self) -> int:
        return int(self._raw.number)

    def fail(self, error: Callable[[], BrokerUnavailable]) -> None:
        """It is of no more use: what waits for a confirm ends with the error."""
        self._failed = self._failed or error
        self._window.fail(error)

    async def write(self, batch: Batch) -> Pending | None:
        """Hand the batch's frames to the connection's writer; calls are written in their order.

        Waits while the writer's own queue is full, so callers hold a deadline. None if the channel has failed: nothing
        was written. Raises `BrokerUnavailable` if the connection is lost.
        """
        async with self._order:
            if self._failed:
                return None
            if self._raw.is_closed:
                raise BrokerUnavailable(LOST)
            payload = self._marshaller.marshal(batch)
            await self._raw.write_queue.put(aiormq.abc.ChannelFrame(payload=payload, should_close=False))
            # No await between: the tags are given in the order in which the broker reads.
            pending = self._window.add(batch, asyncio.get_running_loop().create_future())
            if self._failed:  # while the writer's queue was full: nobody else would end the wait
                self._window.fail(self._failed)
            return pending

    async def _on_confirm(self, frame: Basic.Ack | Basic.Nack) -> None:
        self._window.answer(frame.delivery_tag or 0, bool(frame.multiple), isinstance(frame, Basic.Nack))

    async def _on_close(self, frame: ChannelMethods.Close) -> None:
        self.closed_by_broker = True
        self.on_closed(of_channel(frame))
        async with self._order:  # no frame of this channel may follow its `close-ok`
            # Where the writer's queue is full aiormq leaves `close-ok` out, and the broker waits for it for ever.
            while self._raw.write_queue.full():  # noqa: ASYNC110 - aiormq has no event for it
                await asyncio.sleep(FULL_POLL_SECONDS)
            await self._close_frame_done(frame)

"""One confirming channel of aio-pika, written to by whole batches."""

import asyncio
from typing import Any

import aio_pika
import aiormq.abc
from pamqp.commands import Basic

from ingest.batches import Batch
from ingest.errors import BrokerUnavailable
from ingest.publisher.amqp_frames import Marshaller
from ingest.publisher.confirms import ConfirmWindow, Pending


class _ReturnedIds(dict[str, int]):
    """Takes the place of aiormq's `message_id_delivery_tag`, which it asks about a returned message.

    aiormq keeps an entry a message here; the window finds the message by its batch instead.
    """

    def __init__(self, window: ConfirmWindow) -> None:
        self._window = window

    def get(self, message_id: str, default: Any = None) -> Any:  # asked for nothing but this
        self._window.returned(int(message_id))
        return 0  # a tag that is in no map: aiormq leaves it at that


class ConfirmingChannel:
    """Marshals a batch once, writes it at once, and awaits one future for all of its confirms.

    aiormq's own publish takes a lock, a future and a task wake-up for each message (140 µs); its
    hooks for confirms and returns are replaced on this one channel, which nobody else publishes on.
    """

    def __init__(self, raw: Any, queue: str) -> None:
        self._raw = raw  # an aiormq.Channel; Any, as the hooks below are no part of its interface
        self._window = ConfirmWindow()
        self._order = asyncio.Lock()
        frame_bytes_max = self._raw.connection.connection_tune.frame_max
        self._marshaller = Marshaller(self._raw.number, queue, frame_bytes_max)
        self._raw._on_confirm_frame = self._on_confirm
        self._raw.message_id_delivery_tag = _ReturnedIds(self._window)
        self._failed: str | None = None
        self.closed: asyncio.Future[Any] = self._raw.closing

    @classmethod
    async def open(cls, connection: aio_pika.abc.AbstractConnection, queue: str) -> "ConfirmingChannel":
        channel = await connection.channel(publisher_confirms=True)
        return cls(await channel.get_underlay_channel(), queue)

    def __len__(self) -> int:
        return len(self._window)

    def fail(self, reason: str) -> None:
        """The connection is dropped: what waits for a confirm ends with `BrokerUnavailable`."""
        self._failed = reason
        self._window.fail(reason)

    async def write(self, batch: Batch) -> Pending:
        """Hand the batch's frames to the connection's writer; calls are written in their order.

        Waits while the writer's own queue is full, so callers hold a deadline. Raises
        `BrokerUnavailable` if the channel is closed.
        """
        async with self._order:
            if self._failed or self._raw.is_closed:
                raise BrokerUnavailable(self._failed or "The connection to RabbitMQ was lost.")
            payload = self._marshaller.marshal(batch)
            await self._raw.write_queue.put(aiormq.abc.ChannelFrame(payload=payload, should_close=False))
            # No await between: the tags are given in the order in which the broker reads.
            return self._window.add(batch, asyncio.get_running_loop().create_future())

    async def _on_confirm(self, frame: Basic.Ack | Basic.Nack) -> None:
        self._window.answer(frame.delivery_tag or 0, bool(frame.multiple), isinstance(frame, Basic.Nack))

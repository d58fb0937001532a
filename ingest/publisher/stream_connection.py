"""One connection to RabbitMQ's stream, written to by whole batches."""

import asyncio
import logging
from collections.abc import Iterator, Sequence

from rstream import ConfirmationStatus, RawMessage
from rstream.exceptions import PublisherDoesNotExist, StreamDoesNotExist, StreamNotAvailable

from ingest.batches import Batch
from ingest.errors import BrokerUnavailable
from ingest.publisher.amqp1 import encode_batch
from ingest.publisher.confirms import ConfirmWindow, Pending
from ingest.publisher.stream_address import ERRORS, HEARTBEAT_SECONDS, StreamAddress
from ingest.publisher.stream_producer import OneConnectionProducer
from ingest.publisher.supervisor import Connection, text_of

log = logging.getLogger("ingest.publisher")

FRAME_OVERHEAD_BYTES = 13
MESSAGE_OVERHEAD_BYTES = 12
"""Of a publish frame: length, key, version, publisher id, count; and each message's publishing id and length."""
GONE = {error.code for error in (PublisherDoesNotExist, StreamDoesNotExist, StreamNotAvailable)}
"""Refusals that end only with another connection: to the stream's new leader, or to a new stream."""


class StreamConnection(Connection):
    """Publishing ids are the window's tags: from 1 up, in the order of the calls of `write`."""

    def __init__(self, address: StreamAddress, stream: str, timeout_seconds: float) -> None:
        super().__init__()
        self._producer = OneConnectionProducer(address, stream, self.drop)
        self._stream = stream
        self._timeout_seconds = timeout_seconds
        self._window = ConfirmWindow()
        self._order = asyncio.Lock()

    @classmethod
    async def open(cls, address: StreamAddress, stream: str, timeout_seconds: float) -> "StreamConnection":
        """Connect and declare. Raises one of `ERRORS` or `BrokerUnavailable`."""
        connection = cls(address, stream, timeout_seconds)
        try:
            async with asyncio.timeout(timeout_seconds):
                await connection._producer.open()
        except BaseException as exc:
            connection.drop(text_of(exc))
            await connection.close()
            raise
        return connection

    def drop(self, reason: str) -> None:
        super().drop(reason)
        self._window.fail(reason)

    async def write(self, batch: Batch) -> Pending:
        """Hand the batch to the broker in as few frames as its limit allows; calls keep their order.

        Waits while the socket is full, so callers hold a deadline. Raises `BrokerUnavailable` if the
        connection is lost.
        """
        async with self._order:
            if self.problem is not None:
                raise BrokerUnavailable(self.problem)
            # Before the first byte is out: the first confirms come while the last frame is written.
            pending = self._window.add(batch, asyncio.get_running_loop().create_future())
            try:
                await self._send(pending, encode_batch(batch))
            except asyncio.CancelledError:
                pending.done.cancel()  # by the caller's deadline, which drops the connection
                raise
            except Exception as exc:
                pending.done.cancel()  # nobody will wait for it
                reason = f"Writing to RabbitMQ's stream failed: {text_of(exc)}"
                self.drop(reason)
                raise BrokerUnavailable(reason) from exc
            return pending

    async def _send(self, pending: Pending, messages: Sequence[bytes]) -> None:
        frame_bytes_max = self._producer.frame_bytes_max
        message_bytes_max = frame_bytes_max - FRAME_OVERHEAD_BYTES - MESSAGE_OVERHEAD_BYTES
        if max(map(len, messages)) > message_bytes_max:
            self._refuse_large(pending, messages, message_bytes_max)
        for frame in frames_of(messages, pending.first, frame_bytes_max):
            await self._producer.send_batch(self._stream, frame, on_publish_confirm=self._status)
        if not self._producer.alive:
            raise ConnectionResetError("the connection was lost while it was written to")

    def _refuse_large(self, pending: Pending, messages: Sequence[bytes], message_bytes_max: int) -> None:
        """From RabbitMQ 4 on, a frame over the limit costs the connection, and all that is in flight on it."""
        for tag, message in enumerate(messages, pending.first):
            if len(message) > message_bytes_max:
                log.error(
                    "a message is larger than a frame of RabbitMQ's stream may be (its setting stream.frame_max)",
                    extra={"message_id": pending.batch.ids[tag - pending.first], "bytes": len(message)},
                )
                self._window.answer(tag, multiple=False, refused=True)

    def _status(self, status: ConfirmationStatus) -> None:
        if status.response_code in GONE:
            self.drop(f"RabbitMQ's stream takes no more from this connection (code {status.response_code}).")
        self._window.answer(status.message_id, multiple=False, refused=not status.is_confirmed)

    async def until_lost(self) -> None:
        """An idle connection is tried now and then: rstream only logs that heartbeats are missing."""
        while self.problem is None:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await super().until_lost()
            except TimeoutError:
                await self._try_it()

    async def _try_it(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if not await self._producer.answers():
                    self.drop("RabbitMQ's stream is gone.")
        except ERRORS as exc:
            self.drop(f"RabbitMQ does not answer: {text_of(exc)}")

    async def close(self) -> None:
        broken = self.problem is not None
        self.drop("The connection to RabbitMQ is closed.")
        await self._producer.end(self._timeout_seconds, broken=broken)


def frames_of(messages: Sequence[bytes], first_id: int, frame_bytes_max: int) -> Iterator[list[RawMessage]]:
    """The messages with their publishing ids, so many at a time as a frame holds; too large ones are left out."""
    frame: list[RawMessage] = []
    size = FRAME_OVERHEAD_BYTES
    for publishing_id, message in enumerate(messages, first_id):
        more = MESSAGE_OVERHEAD_BYTES + len(message)
        if FRAME_OVERHEAD_BYTES + more > frame_bytes_max:
            continue
        if size + more > frame_bytes_max:
            yield frame
            frame, size = [], FRAME_OVERHEAD_BYTES
        frame.append(RawMessage(message, publishing_id))
        size += more
    if frame:
        yield frame

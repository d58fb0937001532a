"""Reads a part of a stream over a subscription of its own, and notices its end. Changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from rstream import ConsumerOffsetSpecification, MessageContext

from ingest.broker.stream.address import ERRORS, StreamAddress
from ingest.broker.stream.reader import CLOSE_SECONDS, OneConnectionConsumer
from ingest.broker.supervisor import text_of
from ingest.errors import BrokerUnavailable

QUIET_SECONDS = 2.0
"""If a stream sends nothing for this time, it may be at its end, or the broker may be frozen."""
QUIET_TIMES = 3
"""After this many such times the stream is at its end, if the broker has answered in between."""
ANSWER_SECONDS = 5.0


class Scan:
    """One subscription up to the offset `end`, or to the message for which `look` returns True.

    With `end` None it ends after the first chunk.
    """

    def __init__(self, look: Callable[[bytes, int], bool | None], end: int | None) -> None:
        self._look = look
        self._end = end
        self._ended = asyncio.Event()
        self._lost = False
        self.reached = 0
        """The offset after the last message read; 0 before the first one."""
        self.written_ms = 0
        """When the broker wrote the last message read."""
        if end == 0:
            self._ended.set()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def look(self, message: bytes, context: MessageContext) -> None:
        self.written_ms = context.timestamp
        if self._look(message, context.timestamp):
            self._ended.set()

    def passed(self, offset: int) -> None:
        """Record that all messages before this offset were read. Called after each chunk."""
        self.reached = offset
        if self._end is None or offset >= self._end:
            self._ended.set()

    def lose(self, _: Any) -> None:
        self._lost = True
        self._ended.set()

    async def wait(self, ask: Callable[[], Any]) -> None:
        """Wait for the end, or until nothing has come for a while although the broker answers. See `ended`.

        A broker that was frozen may answer before it sends the next messages, so only repeated silence counts.
        """
        quiet_times = 0
        while quiet_times < QUIET_TIMES:
            before = self.reached
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._ended.wait()
            if self._lost:
                raise BrokerUnavailable("The connection to RabbitMQ was lost.")
            if self.ended:
                return
            quiet_times = quiet_times + 1 if self.reached == before else 0
            await ask()


@asynccontextmanager
async def subscribed(
    address: StreamAddress, stream: str, scan: Scan, begin: ConsumerOffsetSpecification
) -> AsyncIterator[Callable[[], Any]]:
    """Subscribe, and yield a function that asks the broker for an answer over the same connection."""
    consumer = _ChunkConsumer(scan.passed, **address.options(), on_close_handler=scan.lose)

    async def ask() -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            await consumer.ask_for(stream)

    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await consumer.subscribe(stream, scan.look, offset_specification=begin)
        yield ask
    except ERRORS as exc:
        raise BrokerUnavailable(f"RabbitMQ's stream cannot be read: {text_of(exc)}") from exc
    finally:
        await consumer.end(CLOSE_SECONDS)


class _ChunkConsumer(OneConnectionConsumer):
    """Reports the offset after each chunk that was read."""

    def __init__(self, passed: Callable[[int], None], **options: Any) -> None:
        super().__init__(**options)
        self._passed = passed

    async def _on_deliver(self, frame: Any, subscriber: Any, filter_value: Any) -> None:
        await super()._on_deliver(frame, subscriber, filter_value)
        self._passed(frame.chunk_first_offset + frame.num_records)

"""A consumer of a stream that records when the open loop's events arrive."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rstream import ConsumerOffsetSpecification, OffsetType

from bench.harness.events import STEPS
from bench.harness.targets import BenchFailed
from ingest.broker.stream.address import StreamAddress
from ingest.broker.stream.reader import CLOSE_SECONDS, OneConnectionConsumer

START_SECONDS = 10.0
EVENT = re.compile(rb'"call_id": "([0-9a-f]{12})@.*"event_type": "(\w+)"')
KINDS = {name.encode(): number for number, name in enumerate(STEPS)}


def number_of(message: bytes) -> int | None:
    """Return the request's number in `bench.openloop.http.Requests`; None for the message of another event."""
    found = EVENT.search(message)
    return int(found[1], 16) * len(STEPS) + KINDS[found[2]] if found and found[2] in KINDS else None


class Arrivals:
    """`times` has the moment (of `time.monotonic`) at which each request's event arrived first."""

    def __init__(self, url: str, stream: str) -> None:
        self.times: dict[int, float] = {}
        self._address = StreamAddress.parse_each(url)[0]
        self._stream = stream
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()

    def run(self) -> None:
        self._loop.run_until_complete(self._consume())

    def wait_until_started(self) -> None:
        """Raises `BenchFailed`."""
        if not self._started.wait(START_SECONDS):
            raise BenchFailed(f"the stream {self._stream!r} cannot be consumed")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def _consume(self) -> None:
        consumer = OneConnectionConsumer(**self._address.options())
        begin = ConsumerOffsetSpecification(OffsetType.NEXT)
        await consumer.subscribe(self._stream, self._arrive, offset_specification=begin)
        self._started.set()
        await self._stopping.wait()
        await consumer.end(CLOSE_SECONDS)

    def _arrive(self, message: bytes, _: Any) -> None:
        number = number_of(message)
        if number is not None:
            self.times.setdefault(number, time.monotonic())


@contextmanager
def arrivals(url: str, stream: str) -> Iterator[Arrivals]:
    """Consume the stream in a thread. Events that are in the stream already do not count."""
    consumed = Arrivals(url, stream)
    thread = threading.Thread(target=consumed.run)
    thread.start()
    try:
        consumed.wait_until_started()
        yield consumed
    finally:
        consumed.stop()
        thread.join()

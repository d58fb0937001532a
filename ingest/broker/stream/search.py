"""Looks for events in a RabbitMQ stream, as evidence of what it has; changes nothing.

No clock of a host is compared with another's: a search ends at the offset that the stream ended at when it began. It
begins by the broker's times of chunks, at the time of the oldest event; how far the writers' clocks are ahead of the
broker's is seen in what it reads, and it begins anew, earlier, where that was too late.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence, Set
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from rstream import ConsumerOffsetSpecification, MessageContext, OffsetType

from ingest.broker.stream.address import ERRORS, StreamAddress
from ingest.broker.stream.message import message_id_of
from ingest.broker.stream.reader import CLOSE_SECONDS, OneConnectionConsumer
from ingest.broker.supervisor import text_of
from ingest.errors import BrokerUnavailable
from ingest.events.ids import milliseconds_of, slot_of

log = logging.getLogger("ingest.publisher")

MARGIN_MS = 10_000
"""The search begins so long before the oldest event, by the writers' clocks; enough where those are right."""
WIDE_MARGIN_MS = 900_000
"""So long before it, by the broker's clock, where that did not show that it was early enough: a writer's clock may be
ahead by any time, if any of its events that were read had been published within this of being made."""
QUIET_SECONDS = 2.0
"""A stream that sends nothing for so long may be at its end, or the broker may be frozen."""
QUIET_TIMES = 3
"""After so many such times, between which the broker has answered, it is the end."""
ANSWER_SECONDS = 5.0

FIRST = ConsumerOffsetSpecification(OffsetType.FIRST)
LAST = ConsumerOffsetSpecification(OffsetType.LAST)


class Wanted(msgspec.Struct, frozen=True):
    """Ids of one writer's events that are looked for, and the newest of its ids that the stream has."""

    producer: int
    ids: Set[int]
    newest: int

    def has_made(self, event_id: int) -> bool:
        return slot_of(event_id) == slot_of(self.newest) and self.producer <= event_id <= self.newest


async def find_ids(address: StreamAddress, stream: str, wanted: Sequence[Wanted], created_ms: int) -> set[int]:
    """Which of the wanted ids, of events made from that Unix time on by their writers' clocks, the stream has.

    What is not found was looked for, up to where the stream ends now; what was dropped by the stream's own limits is
    not there. Raises `BrokerUnavailable`, also if the stream stops sending before that.
    """
    end, written_ms = await _end_of(address, stream)
    sights = Sight(wanted), Sight(wanted), Sight(wanted)
    for sight, margin_ms in zip(sights, (MARGIN_MS, WIDE_MARGIN_MS, None), strict=True):
        ahead_ms = max(earlier.ahead_ms for earlier in sights)
        begin_ms = None if margin_ms is None else created_ms - ahead_ms - margin_ms
        if begin_ms is not None and begin_ms > written_ms:
            continue  # there is nothing later
        await _read(address, stream, sight, end, begin_ms)
        if begin_ms is None or sight.tells(begin_ms <= created_ms - sight.ahead_ms - MARGIN_MS // 2, margin_ms):
            break
    if sight.awaited:
        log.warning(
            "a stream has the newest events of a writer no more: its limits may have dropped them",
            extra={"stream": stream, "message_ids": sorted(sight.awaited)},
        )
    return set().union(*(earlier.found for earlier in sights))


class Sight:
    """What one reading of a stream has shown of the wanted ids."""

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._wanted = wanted
        self._by_slot: defaultdict[int, list[Wanted]] = defaultdict(list)
        for one in wanted:
            self._by_slot[slot_of(one.newest)].append(one)
        self._first_seen: dict[int, int] = {}
        """Of each writer."""
        self.found: set[int] = set()
        self.awaited = {one.newest for one in wanted}
        self.ahead_ms = 0
        """How far a writer's clock is ahead of the broker's, at the least, as far as it was seen."""

    def look(self, event_id: int, timestamp_ms: int) -> None:
        """A message, in the stream's order, in a chunk that the broker wrote then."""
        for one in self._by_slot.get(slot_of(event_id), ()):
            if one.has_made(event_id):
                self._first_seen.setdefault(one.producer, event_id)
                self.ahead_ms = max(self.ahead_ms, milliseconds_of(event_id) - timestamp_ms)
                self.awaited.discard(event_id)
                if event_id in one.ids:
                    self.found.add(event_id)

    def tells(self, early: bool, margin_ms: int | None) -> bool:
        """Whether what was not found is not there; `early`: it began early enough for the clocks that were seen.

        A writer publishes in the order of its ids: what it made after the first one seen comes behind that.
        """
        missing = [one for one in self._wanted if one.ids - self.found]
        if not missing:
            return True
        if self.awaited or not early:
            return False
        older = all(self._first_seen.get(one.producer, one.newest) < min(one.ids - self.found) for one in missing)
        return older or margin_ms == WIDE_MARGIN_MS


async def _end_of(address: StreamAddress, stream: str) -> tuple[int, int]:
    """The offset behind its last message, and when the broker wrote that; 0 if it has none."""
    reading = _Reading(lambda *_: None, None)
    async with _subscribed(address, stream, reading, LAST) as ask:
        await reading.until_over(ask)
    return reading.reached, reading.written_ms


async def _read(address: StreamAddress, stream: str, sight: Sight, end: int, begin_ms: int | None) -> None:
    """From that Unix time of the broker's on, None for all of it, up to the offset `end` or the last id awaited."""
    begin = FIRST if begin_ms is None else ConsumerOffsetSpecification(OffsetType.TIMESTAMP, begin_ms)

    def look(message: bytes, timestamp_ms: int) -> bool:
        event_id = message_id_of(message)
        if event_id is not None:
            sight.look(event_id, timestamp_ms)
        return not sight.awaited

    reading = _Reading(look, end)
    async with _subscribed(address, stream, reading, begin) as ask:
        await reading.until_over(ask)
    if reading.reached and not reading.over:
        raise BrokerUnavailable(f"RabbitMQ's stream {stream!r} stopped sending before its end.")


class _Reading:
    """One subscription, to its end: the offset `end`, or what `look` says is the last one; None: the first chunk's."""

    def __init__(self, look: Callable[[bytes, int], bool | None], end: int | None) -> None:
        self._look = look
        self._end = end
        self._ended = asyncio.Event()
        self._lost = False
        self.reached = 0
        """The offset behind what was read; 0 before anything was."""
        self.written_ms = 0
        """When the broker wrote that."""
        if end == 0:
            self._ended.set()

    @property
    def over(self) -> bool:
        return self._ended.is_set()

    def look(self, message: bytes, context: MessageContext) -> None:
        self.written_ms = context.timestamp
        if self._look(message, context.timestamp):
            self._ended.set()

    def passed(self, offset: int) -> None:
        """All messages before it were looked at, of a chunk as a whole."""
        self.reached = offset
        if self._end is None or offset >= self._end:
            self._ended.set()

    def lose(self, _: Any) -> None:
        self._lost = True
        self._ended.set()

    async def until_over(self, ask: Callable[[], Any]) -> None:
        """Or until nothing has come for a while, though the broker answers: `over` tells which.

        A broker that was frozen may answer before it sends what there is, so silence counts when it is repeated.
        """
        quiet_times = 0
        while quiet_times < QUIET_TIMES:
            before = self.reached
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._ended.wait()
            if self._lost:
                raise BrokerUnavailable("The connection to RabbitMQ was lost.")
            if self.over:
                return
            quiet_times = quiet_times + 1 if self.reached == before else 0
            await ask()


@asynccontextmanager
async def _subscribed(
    address: StreamAddress, stream: str, reading: _Reading, begin: ConsumerOffsetSpecification
) -> AsyncIterator[Callable[[], Any]]:
    """What asks the broker over the same connection."""
    consumer = _ChunkConsumer(reading.passed, **address.options(), on_close_handler=reading.lose)

    async def ask() -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            await consumer.ask_for(stream)

    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await consumer.subscribe(stream, reading.look, offset_specification=begin)
        yield ask
    except ERRORS as exc:
        raise BrokerUnavailable(f"RabbitMQ's stream cannot be read: {text_of(exc)}") from exc
    finally:
        await consumer.end(CLOSE_SECONDS)


class _ChunkConsumer(OneConnectionConsumer):
    """Tells the offset behind each chunk that was looked at."""

    def __init__(self, passed: Callable[[int], None], **options: Any) -> None:
        super().__init__(**options)
        self._passed = passed

    async def _on_deliver(self, frame: Any, subscriber: Any, filter_value: Any) -> None:
        await super()._on_deliver(frame, subscriber, filter_value)
        self._passed(frame.chunk_first_offset + frame.num_records)

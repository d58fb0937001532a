"""Searches a RabbitMQ stream for events, as evidence of what the stream contains. Changes nothing.

The search does not rely on equal clocks. It ends at the offset that was the stream's end when it began. It begins by
the broker's times of chunks, at the time of the oldest event. From the events it reads, it learns how far the
producers' clocks are ahead of the broker's clock. If it began too late for that, it starts again, earlier.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence, Set

import msgspec
from rstream import ConsumerOffsetSpecification, OffsetType

from ingest.broker.stream.address import StreamAddress
from ingest.broker.stream.message import message_id_of
from ingest.broker.stream.scan import Scan, subscribed
from ingest.errors import BrokerUnavailable
from ingest.events.ids import milliseconds_of, slot_of

log = logging.getLogger("ingest.publisher")

MARGIN_MS = 10_000
"""The first pass begins this long before the oldest event, by the producers' clocks. It suffices if they are right."""
WIDE_MARGIN_MS = 900_000
"""The second pass begins this long before the oldest event, by the broker's clock. The producer's clock may be ahead by
any time. But one of its events in the pass must have been published within this time of its creation."""

FIRST = ConsumerOffsetSpecification(OffsetType.FIRST)
LAST = ConsumerOffsetSpecification(OffsetType.LAST)


class Wanted(msgspec.Struct, frozen=True):
    """Ids of one producer's events to search for, and the newest id of the producer in the stream."""

    producer: int
    ids: Set[int]
    newest: int

    def has_made(self, event_id: int) -> bool:
        return slot_of(event_id) == slot_of(self.newest) and self.producer <= event_id <= self.newest


async def find_ids(address: StreamAddress, stream: str, wanted: Sequence[Wanted], created_ms: int) -> set[int]:
    """Return the wanted ids that the stream contains.

    No wanted event may be older than `created_ms` (Unix time, by the producers' clocks). An id that is not returned was
    not in the stream when the search began, or the stream's limits have dropped it. Raises `BrokerUnavailable`, also if
    the stream stops sending before the search ends.
    """
    end, written_ms = await _end_of(address, stream)
    passes = SearchPass(wanted), SearchPass(wanted), SearchPass(wanted)
    for one_pass, margin_ms in zip(passes, (MARGIN_MS, WIDE_MARGIN_MS, None), strict=True):
        ahead_ms = max(earlier.ahead_ms for earlier in passes)
        begin_ms = None if margin_ms is None else created_ms - ahead_ms - margin_ms
        if begin_ms is not None and begin_ms > written_ms:
            continue  # the stream has nothing later
        await _read(address, stream, one_pass, end, begin_ms)
        early = begin_ms is None or begin_ms <= created_ms - one_pass.ahead_ms - MARGIN_MS // 2
        if begin_ms is None or one_pass.is_conclusive(early, margin_ms):
            break
    if one_pass.awaited:
        log.warning(
            "a stream no longer has the newest event of a producer: its limits may have dropped them",
            extra={"stream": stream, "message_ids": sorted(one_pass.awaited)},
        )
    return set().union(*(earlier.found for earlier in passes))


class SearchPass:
    """One reading of the stream, and its evidence about the wanted ids."""

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._wanted = wanted
        self._by_slot: defaultdict[int, list[Wanted]] = defaultdict(list)
        for one in wanted:
            self._by_slot[slot_of(one.newest)].append(one)
        self._first_seen: dict[int, int] = {}
        """Producer → its first event in this pass."""
        self.found: set[int] = set()
        self.awaited = {one.newest for one in wanted}
        self.ahead_ms = 0
        """The least time by which a producer's clock is ahead of the broker's, according to the events read."""

    def look(self, event_id: int, timestamp_ms: int) -> None:
        """Record the stream's next message, with the time when the broker wrote its chunk."""
        for one in self._by_slot.get(slot_of(event_id), ()):
            if one.has_made(event_id):
                self._first_seen.setdefault(one.producer, event_id)
                self.ahead_ms = max(self.ahead_ms, milliseconds_of(event_id) - timestamp_ms)
                self.awaited.discard(event_id)
                if event_id in one.ids:
                    self.found.add(event_id)

    def is_conclusive(self, early: bool, margin_ms: int | None) -> bool:
        """Return True if ids that were not found are not in the stream.

        `early` says that the pass began early enough for the clocks it has seen. A producer publishes in the order of
        its ids. So an id above the first one seen cannot be before the begin of the pass.
        """
        missing = [one for one in self._wanted if one.ids - self.found]
        if not missing:
            return True
        if self.awaited or not early:
            return False
        older = all(self._first_seen.get(one.producer, one.newest) < min(one.ids - self.found) for one in missing)
        return older or margin_ms == WIDE_MARGIN_MS


async def _end_of(address: StreamAddress, stream: str) -> tuple[int, int]:
    """Return the offset after the last message, and when the broker wrote that message; 0 if there is none."""
    scan = Scan(lambda *_: None, None)
    async with subscribed(address, stream, scan, LAST) as ask:
        await scan.wait(ask)
    return scan.reached, scan.written_ms


async def _read(address: StreamAddress, stream: str, one_pass: SearchPass, end: int, begin_ms: int | None) -> None:
    """Read from the broker's Unix time `begin_ms` (None: from the first message) to `end` or the last awaited id."""
    begin = FIRST if begin_ms is None else ConsumerOffsetSpecification(OffsetType.TIMESTAMP, begin_ms)

    def look(message: bytes, timestamp_ms: int) -> bool:
        event_id = message_id_of(message)
        if event_id is not None:
            one_pass.look(event_id, timestamp_ms)
        return not one_pass.awaited

    scan = Scan(look, end)
    async with subscribed(address, stream, scan, begin) as ask:
        await scan.wait(ask)
    if scan.reached and not scan.ended:
        raise BrokerUnavailable(f"RabbitMQ's stream {stream!r} stopped sending before its end.")

"""The unit of work behind the HTTP handlers: events that are committed and published together."""

from collections.abc import Container, Iterable, Iterator, Sequence
from functools import cached_property
from operator import attrgetter

import msgspec
from msgspec.structs import replace

from ingest.events.event import Event
from ingest.events.idempotency import digest_of, fingerprint_of, key_of_renamed
from ingest.events.ids import IdGenerator, is_provisional, slot_of

FORMAT = 1
"""The version of the form in which outbox and spool keep a batch (`ingest.events.batch_codec`).

A field that is added at the end keeps the number: earlier versions skip it, and this one reads what ends before it. A
number more is for batches that an earlier version must not publish.
"""

_key_of = attrgetter("key")
_payload_of = attrgetter("payload")


class Batch(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """Events with their ids (same length, ascending) and the time at which they were accepted.

    `created_us` is Unix time in microseconds. One batch is one outbox entry, whose name is the first id.
    """

    ids: Sequence[int]
    events: Sequence[Event]
    created_us: int
    producer: int = 0
    """The id generator that made the ids (`IdGenerator.producer`), which is one stream producer. 0 if unknown."""
    format: int = FORMAT
    """Each version finds it in this place. Batches packed by the first versions end before it."""

    @property
    def first_id(self) -> int:
        return self.ids[0]

    @property
    def last_id(self) -> int:
        return self.ids[-1]

    @property
    def slot(self) -> int:
        return slot_of(self.ids[0])

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def has_keys(self) -> bool:
        """Most batches have no keys, and skip the work for them."""
        return any(map(_key_of, self.events))

    def keyed(self) -> Iterator[tuple[int, bytes]]:
        """Id and key of each event that has a key."""
        return ((i, event.key) for i, event in zip(self.ids, self.events, strict=True) if event.key)

    @cached_property
    def payload_bytes(self) -> int:
        """Cached, because each bounded queue asks for it twice."""
        return sum(map(len, map(_payload_of, self.events)))

    def part(self, start: int, stop: int) -> "Batch":
        """The events from `start` to `stop` (exclusive) as a batch of their own."""
        return Batch(self.ids[start:stop], self.events[start:stop], self.created_us, self.producer)

    @property
    def provisional(self) -> bool:
        """Its ids are provisional: see `ingest.pipeline.identity`."""
        return is_provisional(self.ids[0])

    def keyed_by_ids(self) -> "Batch":
        """The same events, each with a key. A new key is unique to the event and its id."""
        events = [
            event if event.key else replace(event, key=key_of_renamed(event_id, self.created_us, event.payload))
            for event_id, event in zip(self.ids, self.events, strict=True)
        ]
        return Batch(self.ids, events, self.created_us, self.producer)

    def renamed(self, ids: IdGenerator) -> "Batch":
        """The same events with new ids."""
        return Batch(ids.take(len(self)), self.events, self.created_us, ids.producer)

    def picked(self, positions: Sequence[int]) -> "Batch":
        """The events at `positions` (ascending) as a batch of their own."""
        if len(positions) == len(self):
            return self
        ids, events = [self.ids[at] for at in positions], [self.events[at] for at in positions]
        return Batch(ids, events, self.created_us, self.producer)


def duplicates_within(batch: Batch) -> dict[int, int]:
    """Position of each event whose key an earlier event of the batch has → position of the earlier event."""
    firsts: dict[bytes, int] = {}
    duplicates = {}
    for position, event in enumerate(batch.events):
        if event.key:
            first = firsts.setdefault(digest_of(event.key), position)
            if first != position:
                duplicates[position] = first
    return duplicates


def duplicate_keys_in(batch: Batch, held: Iterable[tuple[bytes, bytes, int]]) -> dict[int, bool]:
    """Position of each event whose key another event has → whether both are the same event.

    `held` has digest, fingerprint and event id of the known keys.
    """
    own = set(batch.ids)
    others = {digest: fingerprint for digest, fingerprint, event_id in held if event_id not in own}
    return {
        position: others[digest_of(event.key)] == fingerprint_of(event.key)
        for position, event in enumerate(batch.events)
        if event.key and digest_of(event.key) in others
    }


def without(batch: Batch, positions: Container[int]) -> Batch:
    """All but the events at these positions."""
    return batch.picked([position for position in range(len(batch)) if position not in positions])


def divided(larger: Batch, part: Batch) -> tuple[Batch, Batch]:
    """Divide the larger batch into the events with the ids of the part, and the others."""
    own = set(part.ids)
    inside = [position for position, event_id in enumerate(larger.ids) if event_id in own]
    return larger.picked(inside), without(larger, frozenset(inside))


def joined(batches: Sequence[Batch]) -> Batch:
    """Join batches of one producer to publish them at once. The ids may descend. The time is that of the first."""
    if len(batches) == 1:
        return batches[0]
    ids = [event_id for batch in batches for event_id in batch.ids]
    events = [event for batch in batches for event in batch.events]
    return Batch(ids, events, batches[0].created_us, batches[0].producer)

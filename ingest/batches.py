"""The unit of work behind the endpoint: events that are committed and published together."""

from collections.abc import Iterable, Sequence

import msgspec

from ingest.events import Event
from ingest.ids import milliseconds_of, slot_of


class Batch(msgspec.Struct, frozen=True):
    """Events with their ids (same length, ascending) and the time they were accepted.

    `created_us` is Unix time in microseconds. One batch is one outbox entry, named by its first id.
    """

    ids: Sequence[int]
    events: Sequence[Event]
    created_us: int

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

    def part(self, start: int, stop: int) -> "Batch":
        """The events `start` to `stop` (exclusive) as a batch of their own."""
        return Batch(self.ids[start:stop], self.events[start:stop], self.created_us)


class Entry(msgspec.Struct, frozen=True):
    """One outbox entry: a committed batch that is not yet known to be published."""

    first_id: int
    last_id: int
    slot: int
    count: int
    attempts: int


def batches_of(entries: Sequence[Entry], rows: Iterable[tuple[int, Event]]) -> list[Batch]:
    """The entries' batches from rows `(id, event)` in any order; an entry without rows gives none.

    Slots make ids side by side, so the id range of an entry may hold other slots' rows: left out.
    """
    by_slot: dict[int, list[tuple[int, Event]]] = {}
    for row in sorted(dict(rows).items()):
        by_slot.setdefault(slot_of(row[0]), []).append(row)
    batches = []
    for entry in entries:
        found = [row for row in by_slot.get(entry.slot, ()) if entry.first_id <= row[0] <= entry.last_id]
        if found:
            ids, events = zip(*found, strict=True)
            batches.append(Batch(ids, events, milliseconds_of(entry.first_id) * 1000))
    return batches

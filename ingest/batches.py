"""The unit of work behind the endpoint: events that are committed and published together."""

import logging
from collections.abc import Iterable, Sequence

import msgspec

from ingest.events import Event
from ingest.ids import slot_of

log = logging.getLogger("ingest.outbox")


class Batch(msgspec.Struct, frozen=True, array_like=True):
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

    def picked(self, positions: Sequence[int]) -> "Batch":
        """The events at `positions` (ascending) as a batch of their own."""
        if len(positions) == len(self):
            return self
        return Batch([self.ids[at] for at in positions], [self.events[at] for at in positions], self.created_us)


pack = msgspec.msgpack.Encoder().encode
"""A batch as the outbox keeps it (MessagePack, arrays): all that a publisher needs, byte for byte.

The table cannot serve for that: MySQL's JSON type keeps neither key order nor spacing nor long numbers.
"""

_unpack = msgspec.msgpack.Decoder(Batch).decode


def unpack(entries: Iterable[tuple[int, bytes]]) -> list[Batch]:
    """The batches in packed entries `(first_id, bytes)`; damaged ones are reported and left out."""
    batches = []
    for first_id, packed in entries:
        try:
            batches.append(_unpack(packed))
        except msgspec.MsgspecError as exc:
            log.error(
                "an outbox entry is damaged; it stays, unpublished",
                extra={"first_id": first_id, "reason": str(exc), "kept": "its rows are in call_event_logs"},
            )
    return batches

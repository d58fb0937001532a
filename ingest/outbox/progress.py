"""The progress of batches that were published in part. The relays of a worker remember it together."""

from collections.abc import Sequence
from typing import NamedTuple

from ingest.events.batch import Batch
from ingest.outbox.dead_letters import Tries

RESTS_MAX = 4096
"""Batches of which the unpublished positions are remembered. A batch without any is only to be settled."""


class Rest(NamedTuple):
    """Positions of a batch that the broker has not confirmed. They count only for an entry with this very batch.

    Another one may have the same first id: a part that was committed apart, or events of a copied worker.
    """

    fingerprint: int
    positions: Sequence[int]


class Progress:
    """Confirmed events sent again would fill a queue with duplicates.

    All relays of a worker share it: a batch whose commit came late is in the database's outbox and in the spool.
    """

    def __init__(self) -> None:
        self.tries = Tries()
        self._rests: dict[int, Rest] = {}

    def of(self, batch: Batch) -> Sequence[int] | None:
        """Return the unpublished positions of the batch; None if nothing is known of it."""
        rest = self._rests.get(batch.first_id)
        if rest and rest.fingerprint != _fingerprint(batch):
            self.forget(batch.first_id)
            return None
        return rest.positions if rest else None

    def remember(self, batch: Batch, positions: Sequence[int]) -> None:
        self._rests[batch.first_id] = Rest(_fingerprint(batch), positions)
        while len(self._rests) > RESTS_MAX:
            self.forget(next(iter(self._rests)))

    def forget(self, first_id: int) -> None:
        self._rests.pop(first_id, None)
        self.tries.forget(first_id)


def _fingerprint(batch: Batch) -> int:
    return hash((batch.created_us, tuple(batch.ids), tuple(event.payload for event in batch.events)))

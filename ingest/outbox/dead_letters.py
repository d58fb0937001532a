"""Dead letters: events that the broker never takes. They leave the outbox, and are stored with the reason."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from ingest.clock import NowUs
from ingest.errors import NotConfirmed, StoreError
from ingest.events.batch import Batch
from ingest.events.batch_codec import pack
from ingest.telemetry.metrics import Metrics

log = logging.getLogger("ingest.dead_letters")

TRIES_MIN = 10
"""The least number of tries, however long they take."""
REASON_CHARACTERS_MAX = 255


class DeadLetter(msgspec.Struct, frozen=True):
    """`dead_lettered_us` is Unix time in microseconds. `batch` holds the one event, and is None if it is damaged."""

    event_id: int
    reason: str
    dead_lettered_us: int
    batch: Batch | None


class DeadLetterTable(Protocol):
    """Raises `StoreError`, as `ingest.outbox.base.Outbox` does."""

    async def add_dead(self, batch: Batch, reason: str) -> None:
        """Store the batch's events. Those that are stored already stay as they are."""

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]:
        """Return up to `limit` dead letters with ids above `after_id`, oldest first."""

    async def count_dead(self) -> int:
        """Count the dead letters. Above `ingest.outbox.base.COUNTED_MAX` the number is an estimate: a lower bound."""

    async def requeue_dead(self, event_ids: Sequence[int]) -> int:
        """Move them to the outbox, from which any relay may publish them. Return their number."""

    async def drop_dead(self, event_ids: Sequence[int]) -> int:
        """Delete them, and return their number. Their rows in `call_event_logs` stay."""


class DeadLetterPolicy:
    """Decides which refused events become dead letters.

    An event becomes one at once if another try cannot help. Otherwise it becomes one after `TRIES_MIN` tries, once it
    is `seconds` old.
    """

    def __init__(self, table: DeadLetterTable, seconds: float, metrics: Metrics, now_us: NowUs) -> None:
        self._table = table
        self._seconds = seconds
        self._metrics = metrics
        self._now_us = now_us

    async def add_permanent(self, batch: Batch, refused: NotConfirmed, tries: Mapping[int, int]) -> Sequence[int]:
        """Add the events that the broker never takes, and return their positions: none while the database is away.

        `tries` counts the tries of each refused position.
        """
        age_seconds = (self._now_us() - batch.created_us) / 1e6
        permanent = set(refused.never)
        if age_seconds >= self._seconds:
            permanent.update(at for at in _decided(refused) if tries[at] >= TRIES_MIN)
        by_reason: dict[str, list[int]] = {}
        for at in sorted(permanent):
            reason = refused.reasons.get(at) or f"{refused} Tried {tries.get(at, 1)} times in {age_seconds:.0f} s."
            by_reason.setdefault(reason[:REASON_CHARACTERS_MAX], []).append(at)
        dead_lettered: list[int] = []
        for reason, positions in by_reason.items():
            dead_lettered += positions if await self._add(batch, positions, reason) else ()
        return dead_lettered

    async def _add(self, batch: Batch, positions: Sequence[int], reason: str) -> bool:
        try:
            await self._table.add_dead(batch.picked(positions), reason)
        except StoreError as exc:
            log.debug("dead letters cannot be stored now", extra={"reason": str(exc)})
            return False
        self._metrics.dead.inc(len(positions))
        log.error(
            "RabbitMQ never takes these events: see `ingest dead ls`",
            extra={
                "first_id": batch.ids[positions[0]],
                "events": len(positions),
                "reason": reason,
            },
        )
        return True


class Tries:
    """Counts how often the broker has refused each event of unpublished batches."""

    def __init__(self) -> None:
        self._tries: dict[int, Counter[int]] = {}

    def count(self, first_id: int, refused: NotConfirmed) -> Mapping[int, int]:
        """Count these refusals, and return the tries by position. Undecided messages do not count."""
        tries = self._tries.setdefault(first_id, Counter())
        tries.update(_decided(refused))
        return tries

    def forget(self, first_id: int) -> None:
        self._tries.pop(first_id, None)


def _decided(refused: NotConfirmed) -> Sequence[int]:
    undecided = set(refused.undecided)
    return [at for at in refused.positions if at not in undecided]


def packed_singly(batch: Batch) -> Iterator[tuple[int, bytes]]:
    """Each event's id, and the event as an outbox entry of its own.

    The entry names no producer: a stream would discard the event, as the producer has published newer ones.
    """
    for position, event_id in enumerate(batch.ids):
        yield event_id, pack(msgspec.structs.replace(batch.part(position, position + 1), producer=0))

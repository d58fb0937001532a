"""Events that the broker never takes: they leave the outbox, and are kept with the reason, for people."""

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
"""An event is tried at least so often, however long that takes."""
REASON_CHARACTERS_MAX = 255


class DeadLetter(msgspec.Struct, frozen=True):
    """`dead_lettered_us` is Unix time in microseconds; `batch` holds the one event, None if it is damaged."""

    event_id: int
    reason: str
    dead_lettered_us: int
    batch: Batch | None


class DeadLetterTable(Protocol):
    """Raises `StoreError`s, as `ingest.store.base.Outbox` does."""

    async def add_dead(self, batch: Batch, reason: str) -> None:
        """Keep the batch's events; those that are there stay as they are."""

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]:
        """Up to `limit` of ids above `after_id`, oldest first."""

    async def count_dead(self) -> int:
        """How many there are; an estimate above `ingest.store.base.COUNTED_MAX`, which is the least then."""

    async def requeue_dead(self, event_ids: Sequence[int]) -> int:
        """Put them back in the outbox, free to be published; how many there were."""

    async def drop_dead(self, event_ids: Sequence[int]) -> int:
        """Forget them; how many there were. Their rows stay."""


class DeadLetterPolicy:
    """Decides which of the events that the broker has refused are given up.

    At once, if sending again does not help; else after `TRIES_MIN` tries, once they are `seconds` old.
    """

    def __init__(self, table: DeadLetterTable, seconds: float, metrics: Metrics, now_us: NowUs) -> None:
        self._table = table
        self._seconds = seconds
        self._metrics = metrics
        self._now_us = now_us

    async def add_permanent(self, batch: Batch, refused: NotConfirmed, tries: Mapping[int, int]) -> Sequence[int]:
        """Which of the refused positions are given up; none while the database cannot keep them.

        `tries` are those of each position that the broker has refused.
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
            log.debug("dead letters cannot be kept now", extra={"reason": str(exc)})
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
    """How often the broker has refused each event of each batch that is not published yet."""

    def __init__(self) -> None:
        self._tries: dict[int, Counter[int]] = {}

    def count(self, first_id: int, refused: NotConfirmed) -> Mapping[int, int]:
        """By position, with these refusals; what it has not decided is not counted."""
        tries = self._tries.setdefault(first_id, Counter())
        tries.update(_decided(refused))
        return tries

    def forget(self, first_id: int) -> None:
        self._tries.pop(first_id, None)


def _decided(refused: NotConfirmed) -> Sequence[int]:
    undecided = set(refused.undecided)
    return [at for at in refused.positions if at not in undecided]


def packed_singly(batch: Batch) -> Iterator[tuple[int, bytes]]:
    """Each event's id, and the event as an outbox entry of its own: of no writer, as that has published newer ones."""
    for position, event_id in enumerate(batch.ids):
        yield event_id, pack(msgspec.structs.replace(batch.part(position, position + 1), producer=0))

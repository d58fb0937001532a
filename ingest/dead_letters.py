"""Events that the broker never takes: they leave the outbox, and are kept with the reason, for people."""

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from ingest.batches import Batch, pack
from ingest.clock import NowUs
from ingest.errors import NotConfirmed, StoreError
from ingest.metrics import Metrics

log = logging.getLogger("ingest.dead_letters")

TRIES_MIN = 10
"""An event is tried at least so often, however long that takes."""
REASON_CHARACTERS_MAX = 255


class DeadLetter(msgspec.Struct, frozen=True):
    """`died_us` is Unix time in microseconds; `batch` holds the one event, None if it is damaged."""

    event_id: int
    reason: str
    died_us: int
    batch: Batch | None


class DeadLetterTable(Protocol):
    """Raises `StoreError`s, as `ingest.store.base.Outbox` does."""

    async def bury(self, batch: Batch, reason: str) -> None:
        """Keep the batch's events; those that are there stay as they are."""

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]:
        """Up to `limit` of ids above `after_id`, oldest first."""

    async def count_dead(self) -> int: ...

    async def revive(self, event_ids: Sequence[int]) -> int:
        """Put them back in the outbox, free to be published; how many there were."""

    async def drop_dead(self, event_ids: Sequence[int]) -> int:
        """Forget them; how many there were. Their rows stay."""


class Graveyard:
    """Decides which of the events that the broker has refused are given up.

    At once, if sending again does not help; else after `TRIES_MIN` tries, once they are `seconds` old.
    """

    def __init__(self, table: DeadLetterTable, seconds: float, metrics: Metrics, now_us: NowUs) -> None:
        self._table = table
        self._seconds = seconds
        self._metrics = metrics
        self._now_us = now_us

    async def bury_hopeless(self, batch: Batch, refused: NotConfirmed, tries: int) -> Sequence[int]:
        """Which of the refused positions are given up; none while the database cannot keep them."""
        age_seconds = (self._now_us() - batch.created_us) / 1e6
        tried = tries >= TRIES_MIN and age_seconds >= self._seconds
        positions = refused.positions if tried else refused.never
        if not positions:
            return ()
        reason = f"{refused} Tried {tries} times in {age_seconds:.0f} s."[:REASON_CHARACTERS_MAX]
        try:
            await self._table.bury(batch.picked(positions), reason)
        except StoreError as exc:
            log.debug("dead letters cannot be kept now", extra={"reason": str(exc)})
            return ()
        self._metrics.dead.inc(len(positions))
        log.error(
            "RabbitMQ never takes these events: see `ingest dead ls`",
            extra={
                "first_id": batch.ids[positions[0]],
                "events": len(positions),
                "reason": reason,
            },
        )
        return positions


def packed_singly(batch: Batch) -> Iterator[tuple[int, bytes]]:
    """Each event's id, and the event as an outbox entry of its own: of no writer, as that has published newer ones."""
    for position, event_id in enumerate(batch.ids):
        yield event_id, pack(msgspec.structs.replace(batch.part(position, position + 1), writer=0))

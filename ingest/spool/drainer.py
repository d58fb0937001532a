"""Brings what is in the spool to the database, oldest first."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from ingest.batches import Batch, pack, without
from ingest.clock import jittered
from ingest.errors import BatchRefused, IdsTaken, Repeats, SpoolFull, StoreError
from ingest.homes import Successor
from ingest.metrics import Metrics
from ingest.outage import Outage
from ingest.spool.records import Record, Refused
from ingest.spool.store import SpoolStore
from ingest.store.base import Store

log = logging.getLogger("ingest.drainer")

TAKE_RECORDS = 64
"""Brought over at a time; each is one batch of bounded bytes."""
GROUP_BYTES = 256 << 10
"""Of packed records that share a transaction: an outage at little load leaves many small ones. As a statement they are
some eight times as long, which every server's `max_allowed_packet` has room for."""


class Drainer:
    """`run` works until it is cancelled. The first record that arrives tells that the database is back."""

    def __init__(
        self,
        spool: SpoolStore,
        database: Store,
        successor: Successor,
        outage: Outage,
        poll_seconds: float,
        metrics: Metrics,
    ) -> None:
        self._spool = spool
        self._successor = successor
        self._database = database
        self._outage = outage
        self._poll_seconds = poll_seconds
        self._metrics = metrics

    async def run(self) -> None:
        while True:
            more, was_away = False, self._outage.lasts.is_set()
            try:
                more = await self.round()
            except StoreError as exc:
                log.debug("a round of the drainer ended early", extra={"reason": str(exc)})
            except Exception:
                log.exception("the drainer failed unexpectedly; it goes on")
                self._metrics.background_failures.labels("drainer").inc()
            if not more:
                await self._pause(was_away)

    async def _pause(self, was_away: bool) -> None:
        """Until the next round. As soon as an outage begins the database is asked: a short one is over when it answers.

        `was_away`: it has been asked in vain.
        """
        seconds = jittered(self._poll_seconds)
        if was_away:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._outage.lasts.wait()

    async def round(self) -> bool:
        """Bring some records over; True if there may be more. Raises `StoreError` while the database is away."""
        was_away = bool(self._outage.reason)
        try:
            records = await self._spool.take_oldest(1 if was_away else TAKE_RECORDS)
        except SpoolFull:
            await self._ask_database()  # what is in the spool waits for room on its disk; new events need not
            raise
        left = deque(records)
        try:
            while left:
                group = _next_group(left)
                await self._bring(group)
                for _ in group:
                    left.popleft()
        finally:
            if left:
                await self._spool.give_back(left)
        if not records:
            await self._spool.give_room_back()
            if was_away:  # else there may be records by now, which tell more than an answer does
                await self._ask_database()
        return bool(records)

    async def _ask_database(self) -> None:
        """With nothing to bring over, whether it answers must tell that it is back."""
        if self._outage.reason:
            await self._database.ping()
            self._outage.over()

    async def _bring(self, group: Sequence[Record]) -> None:
        batches = [(record, batch) for record in group if (batch := record.unpacked())]
        for record in group:
            if all(record is not whole for whole, _ in batches):
                await self._set_aside(Refused(record.first_id, record.count, "the record is damaged", record.batch))
        if group[0].lease_until is None:
            refused = await self._restore([batch for _, batch in batches])
        elif await self._commit([batch for _, batch in batches]):
            refused = []
        else:
            return
        self._outage.over()  # before the spool is written, whose disk may be full
        for part, reason in refused:
            await self._set_aside(Refused(part.first_id, len(part), reason, pack(part)))
        await self._spool.remove([record for record, _ in batches])
        brought = sum(len(batch) for _, batch in batches) - len(refused)
        self._metrics.ledger.count(None, stored=brought)
        self._metrics.drained.inc(brought)

    async def _commit(self, batches: Sequence[Batch]) -> bool:
        """An unpublished batch. If the database refuses it, it is published from here first: it was acknowledged."""
        for batch in batches:
            new = batch
            try:
                while new:
                    try:
                        await self._database.commit(new, lease_seconds=0.0, settled=[])
                        break
                    except Repeats as exc:
                        new = self._without_repeats(new, exc)
            except (BatchRefused, IdsTaken):
                self._successor.take_over(batch.first_id, range(len(batch)))
                return False
        return True

    def _without_repeats(self, batch: Batch, repeats: Repeats) -> Batch:
        """What another worker or node had accepted while the database, which knows, was away."""
        self._metrics.ledger.count(None, repeated=len(repeats.same))
        return without(batch, repeats.same)

    async def _restore(self, batches: Sequence[Batch]) -> list[tuple[Batch, str]]:
        """The events, as batches of one, that the database refuses, and why; all others are in it then."""
        if not batches:
            return []
        try:
            await self._database.restore(batches)
            return []
        except (BatchRefused, IdsTaken) as exc:
            if len(batches) == 1 and len(batches[0]) == 1:
                return [(batches[0], str(exc))]
        except Repeats as exc:
            if len(batches) == 1:
                new = self._without_repeats(batches[0], exc)
                return await self._restore([new] if new else [])
        return [found for half in _halves(batches) for found in await self._restore(half)]

    async def _set_aside(self, refused: Refused) -> None:
        log.error(
            "an acknowledged event could not be brought to the database",
            extra={
                "first_id": refused.first_id,
                "events": refused.count,
                "reason": refused.reason,
                "kept": "in the spool, set aside: see `ingest spool ls`",
            },
        )
        await self._spool.set_aside(refused)
        self._metrics.set_aside.inc(refused.count)


def _next_group(left: Sequence[Record]) -> Sequence[Record]:
    """Published records go together, as many as one statement may hold; an unpublished one goes alone."""
    group: list[Record] = []
    size = 0
    for record in left:
        size += record.bytes
        if group and (record.lease_until is not None or size > GROUP_BYTES):
            break
        group.append(record)
        if record.lease_until is not None:
            break
    return group


def _halves(batches: Sequence[Batch]) -> Sequence[Sequence[Batch]]:
    if len(batches) > 1:
        return batches[: len(batches) // 2], batches[len(batches) // 2 :]
    (batch,) = batches
    return [batch.part(0, len(batch) // 2)], [batch.part(len(batch) // 2, len(batch))]

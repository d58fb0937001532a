"""Brings what is in the spool to the database, oldest first, and adopts the spools of dead workers."""

import asyncio
import itertools
import logging
import random

from ingest.batches import Batch, pack
from ingest.errors import BatchRefused, IdsTaken, StoreError
from ingest.homes import Successor
from ingest.metrics import Metrics
from ingest.outage import Outage
from ingest.spool.adoption import Adoption
from ingest.spool.records import Record, Refused
from ingest.spool.store import SpoolStore
from ingest.store.base import Store

log = logging.getLogger("ingest.drainer")

TAKE_RECORDS = 16
"""Brought over at a time; each is one batch of bounded bytes."""
ADOPT_ROUNDS = 5
"""Dead workers' spools are looked for in every fifth round."""


class Drainer:
    """`run` works until it is cancelled. The first record that arrives tells that the database is back."""

    def __init__(
        self,
        spool: SpoolStore,
        adoption: Adoption,
        database: Store,
        successor: Successor,
        outage: Outage,
        poll_seconds: float,
        metrics: Metrics,
    ) -> None:
        self._spool = spool
        self._adoption = adoption
        self._successor = successor
        self._database = database
        self._outage = outage
        self._poll_seconds = poll_seconds
        self._metrics = metrics

    async def run(self) -> None:
        for number in itertools.count():
            more = False
            try:
                if number % ADOPT_ROUNDS == 0:
                    await self._adoption.adopt()
                more = await self.round()
            except StoreError as exc:
                log.debug("a round of the drainer ended early", extra={"reason": str(exc)})
            except Exception:
                log.exception("the drainer failed unexpectedly; it goes on")
            if not more:
                await asyncio.sleep(self._poll_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def round(self) -> bool:
        """Bring some records over; True if there may be more. Raises `StoreError` while the database is away."""
        records = await self._spool.take_oldest(1 if self._outage.reason else TAKE_RECORDS)
        for number, record in enumerate(records):
            try:
                await self._bring(record)
            except BaseException:
                await self._spool.give_back(records[number:])
                raise
            self._outage.over()
        if not records:
            await self._spool.give_room_back()
            if self._outage.reason:
                await self._database.ping()
                self._outage.over()
        return bool(records)

    async def _bring(self, record: Record) -> None:
        batch = record.unpacked()
        if batch is None:
            await self._set_aside(Refused(record.first_id, record.count, "the record is damaged", record.batch))
            return
        if record.lease_until is None:
            refused = await self._commit_published(batch)
        elif await self._commit_unpublished(batch):
            refused = []
        else:
            return
        for part, reason in refused:
            await self._set_aside(Refused(part.first_id, len(part), reason, pack(part)))
        await self._spool.remove([record])
        self._metrics.stored.inc(len(batch) - len(refused))
        self._metrics.drained.inc(len(batch) - len(refused))

    async def _commit_unpublished(self, batch: Batch) -> bool:
        """Rows and outbox entry. If the database refuses it, it is published from here first: it was acknowledged."""
        try:
            await self._database.commit(batch, lease_seconds=0.0, settled=[])
        except (BatchRefused, IdsTaken):
            self._successor.take_over(batch.first_id, range(len(batch)))
            return False
        return True

    async def _commit_published(self, batch: Batch) -> list[tuple[Batch, str]]:
        """The events, as batches of one, that the database refuses, and why; all others are in it then."""
        try:
            # An earlier try, with an outcome that was unknown, may have left an outbox entry.
            await self._database.commit(batch, lease_seconds=None, settled=[batch.first_id])
            return []
        except (BatchRefused, IdsTaken) as exc:
            if len(batch) == 1:
                return [(batch, str(exc))]
        middle = len(batch) // 2
        halves = batch.part(0, middle), batch.part(middle, len(batch))
        return [found for half in halves for found in await self._commit_published(half)]

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

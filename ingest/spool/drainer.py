"""Brings what is in the spool to the database, oldest first."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from ingest.clock import jittered
from ingest.errors import SpoolFull, StoreError
from ingest.pipeline.commit_target import RelayPort
from ingest.spool.records import Record
from ingest.spool.store import SpoolStore
from ingest.spool.transfer import Anew, Outcome, Transfer
from ingest.store.base import Store
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage

log = logging.getLogger("ingest.drainer")

TAKE_RECORDS = 64
"""Brought over at a time; each is one batch of bounded bytes."""
GROUP_BYTES = 256 << 10
"""Of packed records that share a transaction: an outage at little load leaves many small ones. As a statement they are
some eight times as long, which every server's `max_allowed_packet` has room for."""
REFUSED_MAX = 8
"""Groups that a round tries in vain: one that is taken proves that the database works, and the others' fault."""
SUSPECTS_MAX = 128
"""Refused records that are passed over; with more the oldest are tried again."""


class Drainer:
    """`run` works until it is cancelled. The first record that arrives tells that the database is back."""

    def __init__(
        self,
        spool: SpoolStore,
        database: Store,
        relay: RelayPort,
        outage: Outage,
        poll_seconds: float,
        metrics: Metrics,
        anew: Anew,
    ) -> None:
        self._spool = spool
        self._database = database
        self._outage = outage
        self._poll_seconds = poll_seconds
        self._metrics = metrics
        self._transfer = Transfer(spool, database, relay, outage, metrics, anew)
        self._suspects: set[int] = set()
        """First ids of records that failed while the database took no other: others are tried before them."""

    async def run(self) -> None:
        while True:
            more, was_away = False, self._outage.active.is_set()
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
                await self._outage.active.wait()

    async def round(self) -> bool:
        """Bring some records over; True if there may be more. Raises `StoreError` while the database is away."""
        was_away = bool(self._outage.reason)
        records = await self._take(was_away)
        if not records:
            await self._spool.give_room_back()
            if was_away:  # else there may be records by now, which tell more than an answer does
                await self._ask_database()
            return False
        left = {record.first_id: record for record in records}
        try:
            return await self._bring_all(records, left)
        finally:
            if left:
                await self._spool.give_back([*left.values()])

    async def _take(self, was_away: bool) -> Sequence[Record]:
        """While the database is away one record will do to see that, or a few beside those that it refuses."""
        few = REFUSED_MAX if self._suspects else 1
        try:
            return await self._spool.take_oldest(len(self._suspects) + (few if was_away else TAKE_RECORDS))
        except SpoolFull:
            await self._ask_database()  # what is in the spool waits for room on its disk; new events need not
            raise

    async def _ask_database(self) -> None:
        """With nothing to bring over, a commit that is tried and rolled back tells whether it takes any."""
        if self._outage.reason:
            await self._database.probe()
            self._outage.recovered()

    async def _bring_all(self, records: Sequence[Record], left: dict[int, Record]) -> bool:
        """Records that the database refused come last, and only once it has taken another: then it is their fault.

        Takes out of `left` what is done. True if there may be more.
        """
        suspects = [record for record in records if record.first_id in self._suspects]
        fresh = deque(record for record in records if record.first_id not in self._suspects)
        if not fresh:
            fresh, suspects = deque(suspects), []
        proven: list[Record] = []
        in_vain = 0
        while fresh and in_vain < REFUSED_MAX:
            group = _next_group(fresh)
            outcome = await self._bring(group, left)
            if outcome.taken:
                proven, suspects, in_vain = [*proven, *suspects], [], 0
            else:
                in_vain += 1
            suspects += outcome.refused
            for _ in group:
                fresh.popleft()
        for record in proven:
            suspects += (await self._bring([record], left, proven=True)).refused
        self._suspects = {record.first_id for record in suspects} if len(suspects) <= SUSPECTS_MAX else set()
        return not in_vain

    async def _bring(self, group: Sequence[Record], left: dict[int, Record], *, proven: bool = False) -> Outcome:
        try:
            outcome = await self._transfer.bring(group, proven=proven)
        except StoreError:
            # Most likely the database is away; but a record may also be too much for it every time.
            self._suspects = {*self._suspects, group[0].first_id} if len(self._suspects) < REFUSED_MAX else set()
            raise
        for record in group:
            if record not in outcome.refused:
                left.pop(record.first_id, None)
        return outcome


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

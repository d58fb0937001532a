"""Drains the spool: moves its records to the database, oldest first."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from ingest.errors import SpoolFull, StoreError
from ingest.spool.records import Record
from ingest.spool.store import SpoolStore
from ingest.spool.transfer import Outcome, RenewIds, SpoolRelay, Transfer
from ingest.store.base import Store
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage
from ingest.ticks import pause, to_tick

log = logging.getLogger("ingest.drainer")

TAKE_RECORDS = 64
"""Records moved in one round. Each is one batch, whose size is bounded."""
GROUP_BYTES = 256 << 10
"""Packed records up to this size share a transaction: an outage at little load leaves many small records. The SQL is
about eight times as long, and still fits in every server's `max_allowed_packet`."""
REFUSED_MAX = 8
"""A round ends after this many refused groups. One committed group proves that the others are to blame themselves."""
SUSPECTS_MAX = 128
"""A round skips up to this many refused records. With more, it tries the oldest again."""


class Drainer:
    """`run` works until it is cancelled. The first committed record ends the outage."""

    def __init__(
        self,
        spool: SpoolStore,
        database: Store,
        relay: SpoolRelay,
        outage: Outage,
        poll_seconds: float,
        metrics: Metrics,
        renew_ids: RenewIds,
    ) -> None:
        self._spool = spool
        self._database = database
        self._outage = outage
        self._poll_seconds = poll_seconds
        self._metrics = metrics
        self._transfer = Transfer(spool, database, relay, outage, metrics, renew_ids)
        self._suspects: set[int] = set()
        """First ids of records that failed while the database took no other. They are tried last."""

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
        """Wait for the next round. A new outage ends the wait at once: it may be so short that it is over by then.

        With `was_away` the database has just failed to answer, so the full time passes.
        """
        if was_away:
            await pause(self._poll_seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(to_tick(self._poll_seconds)):
                await self._outage.active.wait()

    async def round(self) -> bool:
        """Move some records. Return True if there may be more. Raises `StoreError` while the database is away."""
        was_away = bool(self._outage.reason)
        records = await self._take(was_away)
        if not records:
            await self._spool.give_room_back()
            if was_away:  # otherwise new records may have come, and moving them proves more than a probe
                await self._probe_database()
            return False
        left = {record.first_id: record for record in records}
        try:
            return await self._move_all(records, left)
        finally:
            if left:
                await self._spool.give_back([*left.values()])

    async def _take(self, was_away: bool) -> Sequence[Record]:
        """While the database is away, take one record as a probe. If some are refused, take a few others with them."""
        few = REFUSED_MAX if self._suspects else 1
        try:
            return await self._spool.take_oldest(len(self._suspects) + (few if was_away else TAKE_RECORDS))
        except SpoolFull:
            await self._probe_database()  # the records wait for room on the spool's disk; new events need not
            raise

    async def _probe_database(self) -> None:
        """Find out if the database takes commits, while there is no record to move. Raises `StoreError` if not."""
        if self._outage.reason:
            await self._database.probe()
            self._outage.recovered()

    async def _move_all(self, records: Sequence[Record], left: dict[int, Record]) -> bool:
        """Move new records first. Refused ones follow once the database has taken another: only that proves the blame.

        Removes finished records from `left`. Return True if there may be more.
        """
        suspects = [record for record in records if record.first_id in self._suspects]
        fresh = deque(record for record in records if record.first_id not in self._suspects)
        if not fresh:
            fresh, suspects = deque(suspects), []
        proven: list[Record] = []
        refused_groups = 0
        while fresh and refused_groups < REFUSED_MAX:
            group = _next_group(fresh)
            outcome = await self._move(group, left)
            if outcome.taken:
                proven, suspects, refused_groups = [*proven, *suspects], [], 0
            else:
                refused_groups += 1
            suspects += outcome.refused
            for _ in group:
                fresh.popleft()
        for record in proven:
            suspects += (await self._move([record], left, proven=True)).refused
        self._suspects = {record.first_id for record in suspects} if len(suspects) <= SUSPECTS_MAX else set()
        return not refused_groups

    async def _move(self, group: Sequence[Record], left: dict[int, Record], *, proven: bool = False) -> Outcome:
        try:
            outcome = await self._transfer.move(group, proven=proven)
        except StoreError:
            # Most likely the database is away. But one record may also break the connection every time.
            self._suspects = {*self._suspects, group[0].first_id} if len(self._suspects) < REFUSED_MAX else set()
            raise
        for record in group:
            if record not in outcome.refused:
                left.pop(record.first_id, None)
        return outcome


def _next_group(left: Sequence[Record]) -> Sequence[Record]:
    """Published records share a transaction, up to `GROUP_BYTES`. An unpublished record has its own."""
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

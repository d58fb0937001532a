"""One run of retention on `call_event_logs`, for the scheduler and for `ingest retention`."""

from collections.abc import AsyncIterator, Sequence
from datetime import date

from ingest.clock import NowUs, check_clocks
from ingest.retention.archive.archiver import Archiver
from ingest.retention.kept_rows import keep_nothing
from ingest.retention.partitions import Partition, Plan, Table, check_rows, plan


class Retention:
    """Works on a locked table. Every method raises `StoreError`. Days that were not dropped by then are kept.

    `now_us` is this host's clock. It must agree with the database's clock, which alone decides. With an `archiver` no
    day is dropped before its archive is proven.
    """

    def __init__(
        self,
        table: Table,
        keep_days: int | None,
        bytes_max: int | None,
        now_us: NowUs,
        archiver: Archiver | None = None,
    ) -> None:
        self._table = table
        self._keep_days = keep_days
        self._bytes_max = bytes_max
        self._now_us = now_us
        self._archiver = archiver
        self._keep = archiver.keep if archiver else keep_nothing

    async def plan(self) -> Plan:
        """Plan what to do, from the database's current facts."""
        await self._table.check()
        before_us = self._now_us()
        facts = await self._table.facts()
        check_clocks(before_us, facts.now_us, self._now_us())
        return plan(facts, self._keep_days, self._bytes_max)

    async def create(self) -> Sequence[date]:
        """Create the missing days, and return them."""
        of_days = (await self.plan()).create
        await self._table.create(of_days)
        return of_days

    async def drop(self) -> AsyncIterator[Partition]:
        """Drop the days that are due, oldest first. Each is planned again, because the facts may have changed."""
        planned = await self.plan()
        if self._keep_days is not None or self._bytes_max is not None:
            await self._table.finish_drop(planned.before_id, self._keep)
        for _ in planned.drop:
            due = (await self.plan()).drop
            if not due:
                return
            check_rows(await self._table.sample(due[0]), f"partition {due[0].name}")
            if self._archiver:
                await self._archiver.check(due[0].bytes)
            if not await self._table.drop(due[0], self._keep):
                return  # the next run keeps and drops the late rows
            yield due[0]

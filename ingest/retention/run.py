"""Keeps `call_event_logs` to its last days: for the service's keeper and for `ingest retention` alike."""

from collections.abc import AsyncIterator, Sequence
from datetime import date

from ingest.clock import NowUs, check_clocks
from ingest.retention.partitions import Partition, Plan, Table, check_rows, plan


class Retention:
    """One run on a locked table. Every method raises `StoreError`s; what was not dropped by then is still there.

    `now_us` is this host's clock. It decides nothing, but must agree with the database's.
    """

    def __init__(self, table: Table, keep_days: int | None, bytes_max: int | None, now_us: NowUs) -> None:
        self._table = table
        self._keep_days = keep_days
        self._bytes_max = bytes_max
        self._now_us = now_us

    async def plan(self) -> Plan:
        """What is to be done, by what the database says now."""
        await self._table.check()
        before_us = self._now_us()
        facts = await self._table.facts()
        check_clocks(before_us, facts.now_us, self._now_us())
        return plan(facts, self._keep_days, self._bytes_max)

    async def create(self) -> Sequence[date]:
        """Make the days that are missing; which."""
        of_days = (await self.plan()).create
        await self._table.create(of_days)
        return of_days

    async def drop(self) -> AsyncIterator[Partition]:
        """Drop the days that are due, oldest first: each is decided anew, as much may have changed since the first."""
        planned = await self.plan()
        if self._keep_days is not None or self._bytes_max is not None:
            await self._table.finish_drop(planned.before_id)
        for _ in planned.drop:
            due = (await self.plan()).drop
            if not due:
                return
            check_rows(await self._table.sample(due[0]), f"partition {due[0].name}")
            await self._table.drop(due[0])
            yield due[0]

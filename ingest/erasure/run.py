"""Finds the events of a number or call in the database, and erases them there.

Each step is one transaction: the events go, and the tombstone that names them comes. So a process that is killed
leaves no erased event without a tombstone, and the same command goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ingest.clock import NowUs
from ingest.erasure.database import ErasableDatabase, Newest, Packed
from ingest.erasure.matcher import Matcher
from ingest.erasure.report import Report
from ingest.erasure.tombstone import IDS_MAX, tombstone_of, without
from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack_one, why_unreadable
from ingest.events.event import Event
from ingest.retention.partitions import day_of

BELOW_ALL = -(1 << 63)
PAGE_ROWS = 500
PAGE_LETTERS = 50
"""Each is read whole, and may have a megabyte."""
PAGE_ENTRIES = 16
"""Outbox entries read at a time. Each is one batch of bounded bytes."""

NewBatch = Callable[[Event], Awaitable[Batch]]
"""Gives an event of the service's own an id. Raises `StoreError`."""
Reached = Callable[[str], object]
"""Called with the step that has ended. Tests kill the process there."""


class Erasure:
    """One run. With `report.acted` False it only searches. Every method raises `StoreError`.

    Each search ends at the newest id of its beginning: a busy service may store events faster than they are read.

    `pause_seconds` is the rest after each page, in which the service's own statements go first.
    """

    def __init__(
        self,
        database: ErasableDatabase,
        matcher: Matcher,
        report: Report,
        new_batch: NewBatch,
        now_us: NowUs,
        pause_seconds: float,
        reached: Reached = lambda _: None,
    ) -> None:
        self._database = database
        self._matcher = matcher
        self._report = report
        self._new_batch = new_batch
        self._now_us = now_us
        self._pause_seconds = pause_seconds
        self.reached = reached

    async def run(self) -> None:
        """Search the database. A second look finds events that move between its tables meanwhile."""
        for problem in await self._database.check():
            self._report.add_problem(problem)
        newest = await self._database.newest()
        await self._letters(newest)
        await self._entries(newest)
        await self._table(newest)
        if self._report.acted:
            newest = await self._database.newest()
            await self._letters(newest, again=True)
            await self._entries(newest, again=True)
            await self._database.finish()

    async def erase(self, event_ids: Sequence[int], step: str) -> None:
        """Erase these events from the table, and tell consumers."""
        for start in range(0, len(event_ids), IDS_MAX):
            some = event_ids[start : start + IDS_MAX]
            self._count_rows(some, await self._database.erase(some, await self._tombstone(some)))
            self.reached(step)

    async def _letters(self, newest: Newest, *, again: bool = False) -> None:
        after = BELOW_ALL
        while after < newest.letter and (letters := await self._database.letters(after, PAGE_LETTERS)):
            after = letters[-1][0]
            found = [event_id for letter in letters for event_id in self._matching(letter, "a dead letter")]
            self._report.add("dead_letters", 0 if again else len(letters), len(found))
            if self._report.acted:
                await self.erase(found, "letter")
            await asyncio.sleep(self._pause_seconds)

    async def _entries(self, newest: Newest, *, again: bool = False) -> None:
        after = BELOW_ALL
        while after < newest.entry and (entries := await self._database.entries(after, PAGE_ENTRIES)):
            after = entries[-1][0]
            for entry in entries:
                found = self._matching(entry, "an entry of the outbox")
                self._report.add("outbox", 0 if again else 1, len(found))
                if found and self._report.acted:
                    await self._replace(entry[0], found)
            await asyncio.sleep(self._pause_seconds)

    async def _replace(self, first_id: int, event_ids: Sequence[int]) -> None:
        def change(packed: bytes) -> bytes | None:
            return without(packed, set(event_ids), self._report.erasure, self._now_us())

        tombstone = await self._tombstone(event_ids)
        self._count_rows(event_ids, await self._database.replace_entry(first_id, change, event_ids, tombstone))
        self.reached("entry")

    async def _table(self, newest: Newest) -> None:
        """Read the table by its primary key, day after day. Only calls have an index of their own."""
        calls = None if self._matcher.has_numbers else sorted(self._matcher.calls)
        after = BELOW_ALL
        while after < newest.event and (rows := await self._database.events(after, PAGE_ROWS, calls)):
            after = rows[-1].id
            found = [row.id for row in rows if self._matcher.matches(row.payload, row.call_id)]
            self._report.add("table", len(rows), 0)
            if self._report.acted:
                await self.erase(found, "rows")
            else:
                self._count_rows(found, len(found))
            await asyncio.sleep(self._pause_seconds)

    def _count_rows(self, event_ids: Sequence[int], rows: int) -> None:
        """Count rows that are, or would be, deleted. If some had gone before, their days are not told apart."""
        self._report.add("table", 0, rows)
        if rows == len(event_ids):
            for event_id in event_ids:
                self._report.add_day(str(day_of(event_id)), 1)

    def _matching(self, packed: Packed, what: str) -> list[int]:
        batch = unpack_one(packed[1])
        if batch is None:
            self._report.add_problem(f"{what} cannot be searched: id {packed[0]}: {why_unreadable(packed[1])}.")
            return []
        pairs = zip(batch.ids, batch.events, strict=True)
        return [event_id for event_id, event in pairs if self._matcher.matches(event.payload, event.call_id)]

    async def _tombstone(self, event_ids: Sequence[int]) -> Batch:
        batch = await self._new_batch(tombstone_of(self._report.erasure, event_ids, self._now_us()))
        self._report.tombstones.append(str(batch.first_id))
        return batch

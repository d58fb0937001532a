"""Erases events from the files of this host: the spool and the embedded queue."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from functools import partial

from ingest.broker.embedded import FILE_NAME, EmbeddedQueue
from ingest.clock import NowUs
from ingest.erasure.matcher import Matcher
from ingest.erasure.report import Report
from ingest.erasure.run import BELOW_ALL, PAGE_ROWS, Erasure
from ingest.erasure.tombstone import without
from ingest.settings import Settings
from ingest.spool.erasing import Reached, SpoolSearch, rewrite, search, unsearchable

POLL_SECONDS = 0.2
TRIES_MAX = 20
"""Attempts to read a spool whose owner deletes drained files meanwhile."""


class LocalErasure:
    def __init__(
        self,
        settings: Settings,
        matcher: Matcher,
        report: Report,
        erasure: Erasure,
        now_us: NowUs,
        reached: Reached = lambda _: None,
    ) -> None:
        self._settings = settings
        self._folder = settings.data_dir / "spool"
        self._matcher = matcher
        self._report = report
        self._erasure = erasure
        self._now_us = now_us
        self._reached = reached

    async def spools(self, wait_seconds: float) -> None:
        """Erase from the spools of dead workers. Wait until a running service has drained its own.

        The rows come to the table then, so the table must be searched afterwards.
        """
        searched = await self._search()
        if self._report.acted:
            searched = await self._wait_for_drain(searched, wait_seconds)
            for spool in searched:
                await self._erase(spool)
        for spool in searched:
            self._report.add("spool", spool.events, len(spool.found))
            for problem in spool.problems:
                self._report.add_problem(problem)
        for problem in await asyncio.to_thread(unsearchable, self._folder):
            self._report.add_problem(problem)

    async def _wait_for_drain(self, searched: Sequence[SpoolSearch], wait_seconds: float) -> Sequence[SpoolSearch]:
        clock = asyncio.get_running_loop().time
        until = clock() + wait_seconds
        while any(spool.held and spool.found for spool in searched) and clock() < until:
            await asyncio.sleep(POLL_SECONDS)
            searched = await self._search()
        return searched

    async def _erase(self, spool: SpoolSearch) -> None:
        if not spool.found:
            return
        if not spool.held:
            await self._erasure.erase(spool.found, "spool")
        if spool.held or not await self._rewritten(spool.number):
            self._report.add_problem(
                f"spool-{spool.number} of the running service has {len(spool.found)} of these events, which have not "
                "come to the database. Run the command again when `ingest spool ls` is empty, or while this host's "
                "service is stopped."
            )

    async def _rewritten(self, number: int) -> bool:
        def replace(packed: bytes, event_ids: set[int]) -> bytes | None:
            return without(packed, event_ids, self._report.erasure, self._now_us())

        return await asyncio.to_thread(rewrite, self._folder, number, self._matcher.matches, replace, self._reached)

    async def _search(self) -> Sequence[SpoolSearch]:
        for _ in range(TRIES_MAX):
            try:
                return await asyncio.to_thread(lambda: list(search(self._folder, self._matcher.matches)))
            except FileNotFoundError:
                await asyncio.sleep(0)
        return await asyncio.to_thread(lambda: list(search(self._folder, self._matcher.matches)))

    async def embedded_queue(self) -> None:
        """Erase messages that nobody has consumed yet."""
        path = self._settings.data_dir / FILE_NAME
        if not path.exists():
            return
        with closing(EmbeddedQueue(path, self._settings.commit_timeout_seconds)) as queue:
            after, newest_id = BELOW_ALL, await asyncio.to_thread(queue.newest_id)
            while after < newest_id and (messages := await asyncio.to_thread(partial(queue.after, after, PAGE_ROWS))):
                after = messages[-1].message_id
                found = [one.message_id for one in messages if self._matcher.matches(one.body)]
                self._report.add("embedded_queue", len(messages), len(found))
                if found and self._report.acted:
                    await self._erasure.erase(found, "message")
                    queue.erase(found)
                    self._reached("queue")

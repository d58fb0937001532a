"""A worker with a spool that knows of an outage keeps no client waiting, and notices when the outage is over."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ingest.clock import Monotonic
from ingest.events.batch import Batch
from ingest.store.base import Store

KNOWN_SECONDS = 3.0
"""Commits that began before the outage have ended by then, with all further tries."""
OVER_SECONDS = 4.0
"""Commits that all succeed for this time prove that the outage is over. A search for refused events takes less."""
DRAINER = "drainer"
"""The name of its task."""


class CommitWatch:
    """Watches the commits of one worker. `is_away` tells whether the worker says that commits fail."""

    def __init__(
        self, store: Store, is_away: Callable[[], bool], now: Monotonic, breaks: Callable[[str], None]
    ) -> None:
        self._is_away = is_away
        self._now = now
        self._breaks = breaks
        self._since: float | None = None
        self._failures = 0
        self._first: float | None = None
        """The time of the first commit since the last failure, while the worker says that commits fail."""
        commit, insert_published = store.commit, store.insert_published

        async def committed(batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
            self._begins(is_new=lease_seconds > 0)  # the drainer commits without a lease
            failures, was_away = self._failures, self._is_away()
            relay_mode = await self._counted(commit(batch, lease_seconds=lease_seconds, settled=settled))
            if was_away and self._failures == failures and _moves(batch):
                asyncio.get_running_loop().call_soon(self._must_be_over, failures)
            return relay_mode

        async def inserted(batches: Sequence[Batch]) -> None:
            await self._counted(insert_published(batches))

        store.commit, store.insert_published = committed, inserted  # type: ignore[method-assign]

    def _must_be_over(self, failures: int) -> None:
        """The spool's drainer has just moved a record."""
        if self._is_away() and self._failures == failures:
            self._breaks("a record of the spool is in the database, and the worker says that commits fail")

    def _begins(self, *, is_new: bool) -> None:
        """No new events are committed long after the worker has learned of the outage."""
        now = self._now()
        self._since = (now if self._since is None else self._since) if self._is_away() else None
        if is_new and self._since is not None and now - self._since > KNOWN_SECONDS:
            self._breaks(f"new events wait for the database {now - self._since:.1f} s after its outage was known")

    async def _counted(self, commit: Awaitable[bool | None]) -> bool:
        """The outage ends with the first commits. Nothing else may keep it: the spool's records may never end."""
        if not self._is_away():
            self._first = None
        elif self._first is not None and self._now() - self._first > OVER_SECONDS:
            self._breaks(f"all commits of {OVER_SECONDS:g} s succeeded, and the worker says that they fail")
        try:
            relay_mode = await commit
        except BaseException:
            self._first = None
            self._failures += 1
            raise
        self._since = None
        self._first = self._now() if self._first is None else self._first
        return bool(relay_mode)


def _moves(batch: Batch) -> bool:
    """The drainer commits a record as a whole. The search for refused events gives keys to all events of a record."""
    task = asyncio.current_task()
    return task is not None and task.get_name() == DRAINER and not all(event.key for event in batch.events)

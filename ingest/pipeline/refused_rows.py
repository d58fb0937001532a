"""Finds the rows that the database refuses of a batch, and commits all others."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from ingest.errors import BatchRefused, RowRefused, StoreError, StoreUnavailable
from ingest.events.batch import Batch, without
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.isolation import Isolation
from ingest.pipeline.outcomes import Failures, but_failed, failures_or_all, halves
from ingest.pipeline.target_committer import TargetCommitter
from ingest.telemetry.metrics import Metrics

ISOLATE_COMMITS_MAX = 64
"""Commits that the search may try. The rest of the batch then goes to the spool."""

NOT_FOUND = "The database refuses some rows of the batch, and the search for them took too long; retry."


class RefusedRows:
    """Leaves out the rows that the database names. Else it halves the batch until each refused row stands alone."""

    def __init__(
        self,
        database: CommitTarget,
        committer: TargetCommitter,
        commit_again: Callable[[Batch], Awaitable[Failures]],
        fall_back: Callable[[Batch, StoreError], Awaitable[Failures]],
        record: Callable[[StoreError], None],
        seconds_max: float,
        metrics: Metrics,
    ) -> None:
        """`commit_again` tries the database with the rest of a batch, and `fall_back` commits events to the spool.

        `record` reports an outage of the database.
        """
        self._database = database
        self._committer = committer
        self._commit_again = commit_again
        self._fall_back = fall_back
        self._record = record
        self._seconds_max = seconds_max
        self._metrics = metrics

    async def commit_others(self, batch: Batch, reason: BatchRefused) -> Failures:
        """Commit all events but those that the database refuses. Raises `StoreError` if all have failed."""
        if isinstance(reason, RowRefused):
            if reason.rows:
                return await self._commit_without(batch, reason.rows)
            if len(batch) == 1:
                return {id(batch.events[0]): reason}
        if len(batch) == 1:  # nothing proves that the database would take another event
            self._record(reason)
            return await self._fall_back(batch, reason)
        return await self._isolate(batch, reason)

    async def _commit_without(self, batch: Batch, refused: Mapping[int, str]) -> Failures:
        """Commit all events but those that the database is known to refuse: id → reason."""
        positions = {at: event_id for at, event_id in enumerate(batch.ids) if event_id in refused}
        failures: dict[int, StoreError] = {
            id(batch.events[at]): RowRefused(refused[event_id]) for at, event_id in positions.items()
        }
        if rest := without(batch, positions):
            failures.update(await failures_or_all(rest, self._commit_again(rest)))
        return failures

    async def _isolate(self, batch: Batch, reason: BatchRefused) -> Failures:
        """Commit all events but the refused ones: to the database if it takes them, else to the spool."""
        isolation = Isolation(halves(batch), halves, ISOLATE_COMMITS_MAX)
        failures: dict[int, StoreError] = {}

        async def commit(part: Batch) -> None:
            self._metrics.commit_retries.inc()
            failures.update(await self._committer.commit(part, self._database))

        outage = await self._search(isolation, commit, reason)
        failures |= {id(part.events[0]): exc for part, exc in isolation.blamed}
        left = [but_failed(batch, failures)] if outage is reason else isolation.left
        for part in left:
            why = outage or StoreUnavailable(NOT_FOUND)
            failures.update(await failures_or_all(part, self._fall_back(part, why)))
        return failures

    async def _search(
        self, isolation: Isolation[Batch], commit: Callable[[Batch], Awaitable[None]], reason: BatchRefused
    ) -> StoreError | None:
        """Return the outage that the search has met. The batch's own `reason` is one if the database takes no part."""
        outage: StoreError | None = None
        try:
            async with asyncio.timeout(self._seconds_max):
                await isolation.run(commit, self._database.store.probe)
            if not isolation.proven:
                outage = reason
        except TimeoutError:
            pass
        except StoreError as exc:
            outage = exc
        if outage:
            self._record(outage)
        return outage

"""Decides where a batch is committed: in the database, or in the spool while the database is away."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from ingest.clock import Monotonic
from ingest.deadlines import deadline
from ingest.errors import BatchRefused, IdsTaken, StoreError, StoreUnavailable
from ingest.events.batch import Batch, duplicates_within, without
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.dispatcher import Dispatcher
from ingest.pipeline.outcomes import Failures, Undecided, failures_of_all, failures_of_duplicates, failures_or_all
from ingest.pipeline.refused_rows import RefusedRows
from ingest.pipeline.target_committer import TargetCommitter
from ingest.tasks import Background
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage

PROVISIONAL = "The worker has no id slot and no spool; retry."
GIVEN_UP = "The database did not commit within {:g} s."
TOO_SLOW = "The database is too slow. The event was not acknowledged; retry."

Answer = Callable[[Failures], None]


class CommitterLimits(msgspec.Struct, frozen=True):
    isolate_timeout_seconds: float
    """Bounds the search for refused rows where there is no spool."""
    queue_timeout_seconds: float
    """Events that have waited longer than this for a commit go to the spool, not to the database."""
    spool_after_seconds: float
    """A commit that takes longer is abandoned for the spool, so that clients get an answer in time."""


class Committer:
    """Commits batches and passes what is durable to the dispatcher.

    A commit that fails for another reason than a row begins an outage. While it lasts, all batches go to the spool at
    once, and the spool's drainer ends it. If there is no spool, the next successful commit ends the outage.
    """

    def __init__(
        self,
        database: CommitTarget,
        spool: CommitTarget | None,
        outage: Outage,
        dispatcher: Dispatcher,
        limits: CommitterLimits,
        metrics: Metrics,
        monotonic: Monotonic,
    ) -> None:
        self._database = database
        self._spool = spool
        self._outage = outage
        self._limits = limits
        self._metrics = metrics
        self._targets = TargetCommitter(dispatcher, None if spool else outage, metrics, monotonic)
        isolate_seconds = limits.spool_after_seconds if spool else limits.isolate_timeout_seconds
        self._refused_rows = RefusedRows(
            database,
            self._targets,
            self._commit_to_database,
            self._fall_back,
            self._record,
            isolate_seconds,
            metrics,
        )
        self._waiting = Background()

    async def commit_and_answer(self, batch: Batch, waited_seconds: float, answer: Answer) -> None:
        """Commit the batch, and call `answer` once clients may be told. Raises as `commit` does."""
        answer(await self.commit(batch, waited_seconds))

    async def commit(self, batch: Batch, waited_seconds: float) -> Failures:
        """Return the events that are not durable. Raises `StoreError` if all have failed.

        `waited_seconds` is the time that the batch's first event has waited for this commit.
        """
        duplicates = duplicates_within(batch) if batch.has_keys else {}
        if not duplicates:
            return await self._commit(batch, waited_seconds)
        failures = await self._commit(without(batch, duplicates), waited_seconds)
        of_duplicates = failures_of_duplicates(batch, duplicates, failures)
        self._targets.count_duplicates(len(duplicates) - len(of_duplicates))
        if undecided := [failure for failure in of_duplicates.values() if isinstance(failure, Undecided)]:
            self._waiting.start(self._count_decided(undecided), "keyed-events")
        return {**failures, **of_duplicates}

    async def drain(self) -> None:
        """Return when no events with keys wait. The caller bounds the wait."""
        await self._waiting.wait()

    async def close(self) -> None:
        await self._waiting.end()

    async def _commit(self, batch: Batch, waited_seconds: float) -> Failures:
        if batch.provisional:
            return await self._fall_back(batch, StoreUnavailable(PROVISIONAL))
        if waited_seconds > self._limits.queue_timeout_seconds:
            return await self._fall_back(batch, StoreUnavailable(TOO_SLOW))
        if self._spool and self._outage.reason:
            return await self._fall_back(batch, StoreUnavailable(self._outage.reason))
        return await self._commit_to_database(batch)

    async def _commit_to_database(self, batch: Batch) -> Failures:
        try:
            async with self._deadline(batch):
                return await self._targets.commit(batch, self._database)
        except TimeoutError:
            reason: StoreError = StoreUnavailable(GIVEN_UP.format(self._limits.spool_after_seconds))
            if batch.has_keys:
                return await self._let_keyed_wait(batch, reason)
        except StoreError as exc:
            reason = exc
        self._metrics.refused_commits.labels(reason.code).inc()
        if isinstance(reason, BatchRefused):
            return await self._refused_rows.commit_others(batch, reason)
        return await self._give_up(batch, reason)

    def _deadline(self, batch: Batch) -> AbstractAsyncContextManager[None]:
        """Bound a commit so that the spool can still take the batch. Raises `TimeoutError`.

        The store's own deadline alone bounds a batch of events with keys, as only the database knows every key.
        """
        if self._spool is None or all(event.key for event in batch.events):
            return deadline(None)
        return deadline(self._limits.spool_after_seconds)

    async def _let_keyed_wait(self, batch: Batch, reason: StoreError) -> Failures:
        """Events with keys wait for the store's own deadline. The spool takes all others of the batch."""
        keyed = [at for at, event in enumerate(batch.events) if event.key]
        outcome: asyncio.Future[Failures] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.start(self._commit_keyed(batch.picked(keyed), outcome), "keyed-events")
        waiting.add_done_callback(lambda _: _fail_undecided(outcome, batch))
        undecided = {id(batch.events[at]): Undecided(outcome, id(batch.events[at])) for at in keyed}
        rest = without(batch, frozenset(keyed))
        return {**undecided, **await failures_or_all(rest, self._give_up(rest, reason))}

    async def _count_decided(self, duplicates: Sequence[Undecided]) -> None:
        failures = [await duplicate.failure() for duplicate in duplicates]
        self._targets.count_duplicates(failures.count(None))

    async def _commit_keyed(self, batch: Batch, outcome: "asyncio.Future[Failures]") -> None:
        outcome.set_result(await failures_or_all(batch, self._commit_without_deadline(batch)))

    async def _commit_without_deadline(self, batch: Batch) -> Failures:
        try:
            return await self._targets.commit(batch, self._database)
        except BatchRefused as exc:
            return await self._refused_rows.commit_others(batch, exc)
        except StoreError as exc:
            return await self._give_up(batch, exc)

    async def _give_up(self, batch: Batch, reason: StoreError) -> Failures:
        """Record an outage, and commit the batch to the spool.

        The database may still make the commit. The drainer finds that out by the ids.
        """
        self._record(reason)
        return await self._fall_back(batch, reason)

    async def _fall_back(self, batch: Batch, reason: StoreError) -> Failures:
        """Commit the batch to the spool. Raises the reason if there is no spool, and `StoreError` if it fails, too."""
        if self._spool is None or isinstance(reason, IdsTaken):
            raise reason
        if self._outage.reason:
            self._outage.record(len(batch), str(reason))
        failures = await self._targets.commit(batch, self._spool)
        self._metrics.spooled.inc(len(batch) - len(failures))
        return failures

    def _record(self, exc: StoreError) -> None:
        if not isinstance(exc, IdsTaken):
            self._outage.record(0, str(exc))


def _fail_undecided(outcome: "asyncio.Future[Failures]", batch: Batch) -> None:
    """Answer the clients of a task that has ended without an outcome: it was cancelled, perhaps before it began."""
    if not outcome.done():
        outcome.set_result(failures_of_all(batch.events, StoreUnavailable()))

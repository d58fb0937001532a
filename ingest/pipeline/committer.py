"""Commits a batch to the database, or to the spool while that is away; where a row is refused, all the others."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Protocol

import msgspec

from ingest.clock import Monotonic
from ingest.deadlines import deadline
from ingest.errors import BatchRefused, DuplicateKeys, IdsTaken, KeyReused, RowRefused, StoreError, StoreUnavailable
from ingest.events.batch import Batch, duplicates_within, without
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.isolation import Isolation
from ingest.pipeline.outcomes import Failures, Undecided, but_failed, failures_of_duplicates, halves
from ingest.tasks import Background
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage

ISOLATE_COMMITS_MAX = 64
"""To find the rows that a batch was refused for; what is not tried by then goes to the spool."""

NOT_FOUND = "The database refuses some rows of the batch, and the search for them took too long; retry."
PROVISIONAL = "The worker has no id slot and no spool; retry."
GIVEN_UP = "The database did not commit within {:g} s."
TOO_SLOW = "The database is too slow. The event was not acknowledged; retry."


class PublishStage(Protocol):
    """Where committed batches go, in the order of their commits; see `ingest.pipeline.dispatcher`."""

    @property
    def takes_late(self) -> bool:
        """Whether it takes a batch also after `finish`."""

    @property
    def relay_mode(self) -> bool: ...
    def expect(self, batch: Batch) -> None: ...
    def dispatch(self, batch: Batch, lease_seconds: float, target: CommitTarget, behind: bool = False) -> None: ...
    def finish(self, batch: Batch) -> "asyncio.Future[None] | None": ...
    def lease_seconds(self, target: CommitTarget) -> float: ...


class CommitterLimits(msgspec.Struct, frozen=True):
    isolate_timeout_seconds: float
    """To find the rows that a batch was refused for, without a spool."""
    queue_timeout_seconds: float
    """Events that waited longer than this behind slow commits do not go to the database any more."""
    spool_after_seconds: float
    """A commit that takes longer is given up for the spool's, so that clients are answered in time."""


class Committer:
    """Passes on what is committed. Each committed part of a batch is a batch of its own.

    Once a commit has failed for another reason than a row, `outage` lasts, and batches go to the `spool`,
    if there is one, without trying the database; who brings the spool's batches to it ends the outage. Without a spool
    the next commit does.
    """

    def __init__(
        self,
        database: CommitTarget,
        spool: CommitTarget | None,
        outage: Outage,
        downstream: PublishStage,
        limits: CommitterLimits,
        metrics: Metrics,
        monotonic: Monotonic,
    ) -> None:
        self._database = database
        self._spool = spool
        self._outage = outage
        self._onward = downstream
        self._limits = limits
        self._metrics = metrics
        self._monotonic = monotonic
        self._waiting = Background()
        self._isolate_seconds = limits.spool_after_seconds if spool else limits.isolate_timeout_seconds
        self.expect = downstream.expect
        self.finish = downstream.finish

    async def commit(self, batch: Batch, waited_seconds: float) -> Failures:
        """Who of the batch is not durable. Raises `StoreError` if nobody is. Between `expect` and `finish`."""
        twins = duplicates_within(batch) if batch.has_keys else {}
        if not twins:
            return await self._commit(batch, waited_seconds)
        failures = await self._commit(without(batch, twins), waited_seconds)
        of_twins = failures_of_duplicates(batch, twins, failures)
        self._count_repeated(len(twins) - len(of_twins))
        return {**failures, **of_twins}

    async def _commit(self, batch: Batch, waited_seconds: float) -> Failures:
        if batch.provisional:
            return await self._fall_back(batch, StoreUnavailable(PROVISIONAL))
        if waited_seconds > self._limits.queue_timeout_seconds:
            return await self._fall_back(batch, StoreUnavailable(TOO_SLOW))
        if self._spool and self._outage.reason:
            return await self._fall_back(batch, StoreUnavailable(self._outage.reason))
        return await self._commit_or_isolate(batch)

    async def _commit_or_isolate(self, batch: Batch) -> Failures:
        try:
            async with deadline(self._patience_with(batch), unless=self._order_is_the_databases):
                return await self._commit_whole(batch, self._database)
        except TimeoutError:
            reason: StoreError = StoreUnavailable(GIVEN_UP.format(self._limits.spool_after_seconds))
            if batch.has_keys:
                return await self._let_keyed_wait(batch, reason)
        except StoreError as exc:
            reason = exc
        self._metrics.refused_commits.labels(reason.code).inc()
        if isinstance(reason, BatchRefused):
            return await self._refused(batch, reason)
        return await self._give_up(batch, reason)

    async def _refused(self, batch: Batch, reason: BatchRefused) -> Failures:
        if isinstance(reason, RowRefused):
            if reason.rows:
                return await self._without(batch, reason.rows)
            if len(batch) == 1:
                return {id(batch.events[0]): reason}
        # Of a single event nothing proves that another one would be taken.
        return await (self._isolate(batch, reason) if len(batch) > 1 else self._give_up(batch, reason))

    def _patience_with(self, batch: Batch) -> float | None:
        """None: as long as the store's own deadline gives it. Only the database knows every key."""
        alone = batch.has_keys and (not self._onward.takes_late or all(event.key for event in batch.events))
        return None if self._spool is None or alone else self._limits.spool_after_seconds

    async def _let_keyed_wait(self, batch: Batch, reason: StoreError) -> Failures:
        """For the store's own deadline. All others of the batch need not: the spool has them."""
        keyed = [at for at, event in enumerate(batch.events) if event.key]
        outcome: asyncio.Future[Failures] = asyncio.get_running_loop().create_future()
        self._waiting.start(self._commit_keyed(batch.picked(keyed), outcome), "keyed-events")
        undecided = {id(batch.events[at]): Undecided(outcome, id(batch.events[at])) for at in keyed}
        rest = without(batch, frozenset(keyed))
        return {**undecided, **await self._or_why(rest, self._give_up(rest, reason))}

    async def _commit_keyed(self, batch: Batch, outcome: "asyncio.Future[Failures]") -> None:
        failures: Failures = dict.fromkeys(map(id, batch.events), StoreUnavailable())
        try:
            failures = await self._or_why(batch, self._commit_in_the_end(batch))
        finally:
            outcome.set_result(failures)

    async def _commit_in_the_end(self, batch: Batch) -> Failures:
        try:
            return await self._commit_whole(batch, self._database)
        except BatchRefused as exc:
            return await self._refused(batch, exc)
        except StoreError as exc:
            return await self._give_up(batch, exc)

    async def drain(self) -> None:
        """Return when no keyed events wait; the caller bounds the wait."""
        await self._waiting.wait()

    async def close(self) -> None:
        await self._waiting.end()

    def _order_is_the_databases(self) -> bool:
        """While the workers' order is agreed on there, what is kept elsewhere is published out of order."""
        return self._onward.relay_mode

    async def _give_up(self, batch: Batch, reason: StoreError) -> Failures:
        """The database may yet make the commit that was given up: the ids tell, when the batch is brought to it."""
        self._tell(reason)
        return await self._fall_back(batch, reason)

    async def _fall_back(self, batch: Batch, reason: StoreError) -> Failures:
        """Keep the batch in the spool. Raises the reason if there is none, and `StoreError` if that fails, too."""
        if self._spool is None or isinstance(reason, IdsTaken):
            raise reason
        if self._outage.reason:
            self._outage.record(len(batch), str(reason))
        failures = await self._commit_whole(batch, self._spool)
        self._metrics.spooled.inc(len(batch) - len(failures))
        return failures

    def _tell(self, exc: StoreError) -> None:
        if not isinstance(exc, IdsTaken):
            self._outage.record(0, str(exc))

    async def _without(self, batch: Batch, refused: Mapping[int, str]) -> Failures:
        """Commit all but the events that the database is known to refuse: id → why."""
        positions = {at: event_id for at, event_id in enumerate(batch.ids) if event_id in refused}
        failures: dict[int, StoreError] = {
            id(batch.events[at]): RowRefused(refused[event_id]) for at, event_id in positions.items()
        }
        if rest := without(batch, positions):
            failures.update(await self._or_why(rest, self._commit_or_isolate(rest)))
        return failures

    async def _isolate(self, batch: Batch, reason: BatchRefused) -> Failures:
        """Part the batch until those to blame stand alone. The database takes all others, or the spool does."""
        isolation = Isolation(halves(batch), halves, ISOLATE_COMMITS_MAX)
        failures: dict[int, StoreError] = {}

        async def commit(part: Batch) -> None:
            self._metrics.commit_retries.inc()
            failures.update(await self._commit_whole(part, self._database))

        why: StoreError | None = None
        try:
            async with asyncio.timeout(self._isolate_seconds):
                await isolation.run(commit)
            if not isolation.proven:
                why = reason  # nothing was taken: that is no row's fault
        except TimeoutError:
            pass
        except StoreError as exc:
            why = exc
        if why:
            self._tell(why)
        failures |= {id(part.events[0]): exc for part, exc in isolation.blamed}
        left = [but_failed(batch, failures)] if why is reason else isolation.left
        for part in left:
            failures.update(await self._or_why(part, self._fall_back(part, why or StoreUnavailable(NOT_FOUND))))
        return failures

    async def _or_why(self, part: Batch, work: Awaitable[Failures]) -> Failures:
        """The work's failures, or those of the whole part if it raises."""
        try:
            return await work
        except StoreError as exc:
            return {id(event): exc for event in part.events}

    async def _commit_whole(self, batch: Batch, target: CommitTarget) -> Failures:
        """Commit all of the batch but its repeats, which need nothing but an answer."""
        failures: dict[int, StoreError] = {}
        while batch:
            try:
                await self._commit_new(batch, target)
                break
            except DuplicateKeys as exc:
                failures |= {id(batch.events[at]): KeyReused() for at, same in exc.same.items() if not same}
                self._count_repeated(sum(exc.same.values()))
                batch = without(batch, exc.same)
        return failures

    def _count_repeated(self, events: int) -> None:
        self._metrics.durable_counters.count(None, accepted=events, repeated=events)

    async def _commit_new(self, batch: Batch, target: CommitTarget) -> None:
        settled = target.settler.take()
        lease_seconds = 0.0 if batch.provisional else self._onward.lease_seconds(target)
        durable_counters = self._metrics.durable_counters
        # The ledger knows the database's rows only; what the spool keeps is counted as stored when it comes there.
        note = durable_counters.begin(batch.first_id, batch.last_id) if target is self._database else None
        started = self._monotonic()
        try:
            behind = await target.store.commit(batch, lease_seconds=lease_seconds, settled=settled)
        except BaseException:
            target.settler.add(settled)  # later, then
            durable_counters.cancel(note)
            raise
        if self._spool is None:
            self._outage.recovered()  # else the drainer finds that out
        durable_counters.count(note, accepted=len(batch), stored=len(batch) if target is self._database else 0)
        self._metrics.commit_seconds.observe(self._monotonic() - started)
        self._metrics.batch_events.observe(len(batch))
        if not batch.provisional:  # else it is published under the ids that it gets
            self._onward.dispatch(batch, lease_seconds, target, behind)

"""Commits a batch to the database, or to the spool while that is away; where a row is refused, all the others."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from ingest.batches import Batch, twins_of, without
from ingest.clock import Monotonic
from ingest.deadlines import deadline
from ingest.errors import BatchRefused, IdsTaken, KeyReused, Repeats, StoreError, StoreUnavailable
from ingest.homes import Home
from ingest.metrics import Metrics
from ingest.outage import Outage

Failures = Mapping[int, StoreError]
"""`id()` of an event object → why it could not be made durable."""

TIME_RAN_OUT = "The batch held rows that the database refuses, and time ran out. Send the event again."
GIVEN_UP = "The database did not commit within {:g} s."
TOO_SLOW = "The database is too slow. The event was not acknowledged: send it again."


class Onward(Protocol):
    """Where committed batches go, in the order of their commits; see `ingest.dispatcher`."""

    @property
    def order_is_the_databases(self) -> bool: ...
    def expect(self, batch: Batch) -> None: ...
    def dispatch(self, batch: Batch, lease_seconds: float, home: Home, behind: bool = False) -> None: ...
    def finish(self, batch: Batch) -> "asyncio.Future[None] | None": ...
    def lease_seconds(self, home: Home) -> float: ...


class CommitterLimits(msgspec.Struct, frozen=True):
    isolate_timeout_seconds: float
    """To find the rows that poison a batch."""
    queue_timeout_seconds: float
    """Events that waited longer than this behind slow commits do not go to the database any more."""
    spool_after_seconds: float
    """A commit that takes longer is given up for the spool's, so that clients are answered in time."""


class Committer:
    """Passes on what is committed. Each committed part of a batch is a batch of its own.

    Once a commit has failed for another reason than a row, `outage` lasts, and batches go to the `spool`,
    if there is one, without trying the database; who brings the spool's batches to it ends the outage.
    """

    def __init__(
        self,
        database: Home,
        spool: Home | None,
        outage: Outage,
        onward: Onward,
        limits: CommitterLimits,
        metrics: Metrics,
        monotonic: Monotonic,
    ) -> None:
        self._database = database
        self._spool = spool
        self._outage = outage
        self._onward = onward
        self._limits = limits
        self._metrics = metrics
        self._monotonic = monotonic
        self.expect = onward.expect
        self.finish = onward.finish

    async def commit(self, batch: Batch, waited_seconds: float) -> Failures:
        """Who of the batch is not durable. Raises `StoreError` if nobody is. Between `expect` and `finish`."""
        twins = twins_of(batch) if batch.has_keys else {}
        if not twins:
            return await self._commit(batch, waited_seconds)
        failures = await self._commit(without(batch, twins), waited_seconds)
        of_twins = _failures_of_twins(batch, twins, failures)
        self._count_repeated(len(twins) - len(of_twins))
        return {**failures, **of_twins}

    async def _commit(self, batch: Batch, waited_seconds: float) -> Failures:
        if waited_seconds > self._limits.queue_timeout_seconds:
            return await self._fall_back(batch, StoreUnavailable(TOO_SLOW))
        if self._spool and self._outage.reason:
            return await self._fall_back(batch, StoreUnavailable(self._outage.reason))
        return await self._commit_or_isolate(batch)

    async def _commit_or_isolate(self, batch: Batch) -> Failures:
        try:
            async with deadline(self._patience_with(batch), unless=self._order_is_the_databases):
                return await self._commit_whole(batch, self._database)
        except BatchRefused as exc:
            return {id(batch.events[0]): exc} if len(batch) == 1 else await self._isolate(batch)
        except TimeoutError:
            return await self._give_up(batch, StoreUnavailable(GIVEN_UP.format(self._limits.spool_after_seconds)))
        except StoreError as exc:
            return await self._give_up(batch, exc)

    def _patience_with(self, batch: Batch) -> float | None:
        """None: as long as the store's own deadline gives it. Only the database knows every key."""
        return None if self._spool is None or batch.has_keys else self._limits.spool_after_seconds

    def _order_is_the_databases(self) -> bool:
        """While the workers' order is agreed on there, what is kept elsewhere is published out of order."""
        return self._onward.order_is_the_databases

    async def _give_up(self, batch: Batch, reason: StoreError) -> Failures:
        """The database may yet make the commit that was given up: the ids tell, when the batch is brought to it."""
        self._tell(reason)
        return await self._fall_back(batch, reason)

    async def _fall_back(self, batch: Batch, reason: StoreError) -> Failures:
        """Keep the batch in the spool. Raises the reason if there is none, and `StoreError` if that fails, too."""
        if self._spool is None or isinstance(reason, IdsTaken):
            raise reason
        if self._outage.reason:
            self._outage.concerns(len(batch), str(reason))
        failures = await self._commit_whole(batch, self._spool)
        self._metrics.spooled.inc(len(batch) - len(failures))
        return failures

    def _tell(self, exc: StoreError) -> None:
        if self._spool and not isinstance(exc, IdsTaken):
            self._outage.concerns(0, str(exc))

    async def _isolate(self, batch: Batch) -> Failures:
        """Halve the batch until the refused rows stand alone."""
        parts = [*_halves(batch)]
        failures: dict[int, StoreError] = {}
        try:
            async with asyncio.timeout(self._limits.isolate_timeout_seconds):
                while parts:
                    failures.update(await self._commit_last(parts))
        except TimeoutError:
            failures |= {id(event): StoreUnavailable(TIME_RAN_OUT) for part in parts for event in part.events}
        except StoreError as exc:
            self._tell(exc)
            for part in reversed(parts):
                failures.update(await self._rest(part, exc))
        return failures

    async def _rest(self, part: Batch, reason: StoreError) -> Failures:
        """What became of a part that was not tried before the database went away."""
        try:
            return await self._fall_back(part, reason)
        except StoreError as exc:
            return {id(event): exc for event in part.events}

    async def _commit_last(self, parts: list[Batch]) -> Failures:
        """Commit the last part, or put its halves in its place; it stays there if the store fails."""
        part = parts[-1]
        self._metrics.commit_retries.inc()
        try:
            failures = await self._commit_whole(part, self._database)
            parts.pop()
            return failures
        except BatchRefused as exc:
            parts.pop()
            if len(part) == 1:
                return {id(part.events[0]): exc}
            parts += _halves(part)
        return {}

    async def _commit_whole(self, batch: Batch, home: Home) -> Failures:
        """Commit all of the batch but its repeats, which need nothing but an answer."""
        failures: dict[int, StoreError] = {}
        while batch:
            try:
                await self._commit_new(batch, home)
                break
            except Repeats as exc:
                failures |= {id(batch.events[at]): KeyReused() for at, same in exc.same.items() if not same}
                self._count_repeated(sum(exc.same.values()))
                batch = without(batch, exc.same)
        return failures

    def _count_repeated(self, events: int) -> None:
        self._metrics.ledger.count(None, accepted=events, repeated=events)

    async def _commit_new(self, batch: Batch, home: Home) -> None:
        settled, lease_seconds = home.settling.take(), self._onward.lease_seconds(home)
        ledger = self._metrics.ledger
        # The ledger knows the database's rows only; what the spool keeps is counted as stored when it comes there.
        note = ledger.begin(batch.first_id, batch.last_id) if home is self._database else None
        started = self._monotonic()
        try:
            behind = await home.keeper.commit(batch, lease_seconds=lease_seconds, settled=settled)
        except BaseException:
            home.settling.add(settled)  # later, then
            ledger.strike(note)
            raise
        ledger.count(note, accepted=len(batch), stored=len(batch) if home is self._database else 0)
        self._metrics.commit_seconds.observe(self._monotonic() - started)
        self._metrics.batch_events.observe(len(batch))
        self._onward.dispatch(batch, lease_seconds, home, behind)


def _failures_of_twins(batch: Batch, twins: Mapping[int, int], failures: Failures) -> Failures:
    """A twin fares as the first event with its key did, if it is the same event."""
    found: dict[int, StoreError] = {}
    for position, first in twins.items():
        one, other = batch.events[first], batch.events[position]
        if one.key != other.key:
            found[id(other)] = KeyReused()
        elif id(one) in failures:
            found[id(other)] = failures[id(one)]
    return found


def _halves(batch: Batch) -> Sequence[Batch]:
    """The second half and the first, which is taken off the end first."""
    middle = len(batch) // 2
    return [batch.part(middle, len(batch)), batch.part(0, middle)]

"""Commits a batch; where the database refuses a row of it, all the others."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from ingest.batches import Batch
from ingest.clock import Monotonic
from ingest.errors import BatchRefused, StoreError, StoreUnavailable
from ingest.metrics import Metrics
from ingest.store.base import Store

Failures = Mapping[int, StoreError]
"""`id()` of an event object → why it could not be made durable."""

TIME_RAN_OUT = "The batch held rows that the database refuses, and time ran out. Send the event again."


class Onward(Protocol):
    """Where committed batches go, in the order of their commits; see `ingest.dispatcher`."""

    def dispatch(self, batch: Batch, lease_seconds: float) -> None: ...
    def lease_seconds(self) -> float: ...


class Settling(Protocol):
    """Who has outbox entries that a commit may settle on its way; see `ingest.settler`."""

    def take(self) -> Sequence[int]: ...
    def add(self, first_ids: Sequence[int]) -> None: ...


class Committer:
    """Passes on what is committed. Each committed part of a batch is a batch of its own.

    `isolate_timeout_seconds` is the time to find the rows that poison a batch.
    """

    def __init__(
        self,
        store: Store,
        settling: Settling,
        onward: Onward,
        isolate_timeout_seconds: float,
        metrics: Metrics,
        monotonic: Monotonic,
    ) -> None:
        self._store = store
        self._settling = settling
        self._onward = onward
        self._isolate_timeout_seconds = isolate_timeout_seconds
        self._metrics = metrics
        self._monotonic = monotonic

    async def commit(self, batch: Batch) -> Failures:
        """Who of the batch is not durable. Raises `StoreError` if nobody is."""
        try:
            await self._commit_whole(batch)
        except BatchRefused as exc:
            return {id(batch.events[0]): exc} if len(batch) == 1 else await self._isolate(batch)
        return {}

    async def _isolate(self, batch: Batch) -> Failures:
        """Halve the batch until the refused rows stand alone."""
        parts = _halves(batch)
        failures: dict[int, StoreError] = {}
        outcome: StoreError = StoreUnavailable(TIME_RAN_OUT)
        try:
            async with asyncio.timeout(self._isolate_timeout_seconds):
                while parts:
                    failures.update(await self._commit_last(parts))
        except TimeoutError:
            pass
        except StoreError as exc:
            outcome = exc
        return {id(event): outcome for part in parts for event in part.events} | failures

    async def _commit_last(self, parts: list[Batch]) -> Failures:
        """Commit the last part, or put its halves in its place; it stays there if the store fails."""
        part = parts[-1]
        try:
            await self._commit_whole(part)
            parts.pop()
        except BatchRefused as exc:
            parts.pop()
            if len(part) == 1:
                return {id(part.events[0]): exc}
            parts += _halves(part)
        return {}

    async def _commit_whole(self, batch: Batch) -> None:
        settled, lease_seconds = self._settling.take(), self._onward.lease_seconds()
        started = self._monotonic()
        try:
            await self._store.commit(batch, lease_seconds=lease_seconds, settled=settled)
        except BaseException:
            self._settling.add(settled)  # later, then
            raise
        self._metrics.commit_seconds.observe(self._monotonic() - started)
        self._metrics.batch_events.observe(len(batch))
        self._metrics.stored.inc(len(batch))
        self._onward.dispatch(batch, lease_seconds)


def _halves(batch: Batch) -> list[Batch]:
    """The second half and the first, which is taken off the end first."""
    middle = len(batch) // 2
    return [batch.part(middle, len(batch)), batch.part(0, middle)]

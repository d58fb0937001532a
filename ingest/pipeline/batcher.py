"""Natural group commit: whenever a writer is free, it commits all events that have queued.

No timer delays a commit. An idle service commits one event at once. A loaded service makes large batches, because
events queue while the writer is busy. Further writers help once a whole batch is full, or once events have waited
`patience_seconds` behind one commit.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from ingest.clock import Monotonic, NowUs
from ingest.errors import IdsTaken, StoreError, StoreUnavailable
from ingest.events.batch import Batch
from ingest.events.ids import IdGenerator
from ingest.pipeline.committer import Committer
from ingest.pipeline.event_queue import BatcherLimits, EventQueue, Group
from ingest.pipeline.outcomes import Failures, failures_of_all
from ingest.tasks import end, supervise
from ingest.telemetry.metrics import Metrics

log = logging.getLogger("ingest.batcher")

ID_TRIES_MAX = 4
"""A batch is tried under this many ranges of ids if other events have its ids."""


async def no_other_ids(batch: Batch) -> None:
    raise StoreError


class Batcher:
    """Takes events one by one, and commits them by the batch."""

    def __init__(
        self, committer: Committer, limits: BatcherLimits, metrics: Metrics, now_us: NowUs, monotonic: Monotonic
    ) -> None:
        self.give_up_ids: Callable[[Batch], Awaitable[None]] = no_other_ids
        """Called with a batch whose ids other events have. Provides other ids, or raises `StoreError`."""
        self._committer = committer
        self._writers_max = limits.writers
        self._metrics = metrics
        self._count_failure = metrics.background_failures.labels("writer").inc
        self._now_us = now_us
        self._monotonic = monotonic
        self._ids: IdGenerator | None = None
        self._queue = EventQueue(limits, monotonic)
        self._writers: list[asyncio.Task[None]] = []
        self.submit = self._queue.submit

    @property
    def queued_events(self) -> int:
        return self._queue.events

    def start(self) -> None:
        self._writers = [supervise(self._write, f"writer-{n}", self._count_failure) for n in range(self._writers_max)]

    def use_ids(self, ids: IdGenerator | None) -> None:
        """Give events ids of this generator from now on. None closes the queue."""
        self._ids = ids
        self._queue.is_open = ids is not None

    async def drain(self) -> None:
        """Return when no event is queued or being committed. The caller bounds the wait."""
        await self._queue.drain()
        await self._committer.drain()

    async def close(self) -> None:
        """Fail what is queued. A request that queues its next events then is refused: nobody would commit them."""
        self._queue.is_open = False
        await end(self._writers)
        await self._committer.close()
        for group in self._queue.clear():
            self._fail(group, StoreUnavailable())

    async def _write(self) -> None:
        while True:
            group = await self._queue.take()
            try:
                await self._commit_group(group)
            finally:
                self._queue.busy -= 1

    async def _commit_group(self, group: Group) -> None:
        try:
            await self._commit(group)
        except StoreError as exc:
            self._fail(group, exc)
        except asyncio.CancelledError:
            self._fail(group, StoreUnavailable())
            raise
        except Exception:
            log.exception("commit failed unexpectedly", extra={"events": len(group.events)})
            self._count_failure()
            self._fail(group, StoreError())

    async def _commit(self, group: Group) -> None:
        waited = self._monotonic() - group.since
        self._metrics.queue_seconds.observe(waited)
        for tries_left in reversed(range(ID_TRIES_MAX)):
            batch = self._make_batch(group)
            try:
                await self._committer.commit_and_answer(batch, waited, partial(self._answer, group))
                break
            except IdsTaken:  # nothing of the batch was committed
                if not tries_left or not await self._has_other_ids(batch):
                    raise

    async def _has_other_ids(self, batch: Batch) -> bool:
        try:
            await self.give_up_ids(batch)
        except StoreError:
            return False
        return self._ids is not None

    def _make_batch(self, group: Group) -> Batch:
        if self._ids is None:
            raise StoreUnavailable
        return Batch(self._ids.take(len(group.events)), group.events, self._now_us(), self._ids.producer)

    def _fail(self, group: Group, error: StoreError) -> None:
        self._answer(group, failures_of_all(group.events, error))

    def _answer(self, group: Group, failures: Failures) -> None:
        if not group.done.done():
            if group.requests and not failures:
                self._metrics.single_queued.inc(group.requests)
            self._metrics.ack_seconds.observe_since(self._monotonic(), group.received)
            group.done.set_result(failures or None)

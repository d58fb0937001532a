"""Commits batches whose order counts: clients are answered once the stream has their events."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from ingest.clock import Monotonic
from ingest.deadlines import deadline
from ingest.events.batch import Batch
from ingest.ordering.commit_queue import CommitQueue
from ingest.ordering.dispatcher import OrderedDispatcher
from ingest.pipeline.commit_target import BatchStore, CommitTarget
from ingest.pipeline.committer import Answer, Committer, CommitterLimits
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage


class RelayModeStore:
    """Tells the queue which batches the store committed in relay mode."""

    def __init__(self, store: BatchStore, queue: CommitQueue) -> None:
        self._store = store
        self._queue = queue

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        relay_mode = await self._store.commit(batch, lease_seconds=lease_seconds, settled=settled)
        if relay_mode:
            self._queue.note_relay_mode(batch)
        return relay_mode

    async def probe(self) -> None:
        await self._store.probe()


class OrderedCommitter(Committer):
    """Puts each batch in the queue before its commit, so that batches are published in the order of their ids."""

    def __init__(
        self,
        database: CommitTarget,
        spool: CommitTarget | None,
        outage: Outage,
        dispatcher: OrderedDispatcher,
        queue: CommitQueue,
        limits: CommitterLimits,
        metrics: Metrics,
        monotonic: Monotonic,
    ) -> None:
        super().__init__(database, spool, outage, dispatcher, limits, metrics, monotonic)
        self._dispatcher = dispatcher
        self._queue = queue

    async def commit_and_answer(self, batch: Batch, waited_seconds: float, answer: Answer) -> None:
        pending = self._queue.join(batch)  # before the first await: batches join in the order of their ids
        try:
            failures = await self.commit(batch, waited_seconds)
        finally:
            self._dispatcher.finish(pending)
        pending.when_acknowledged(lambda: answer(failures))

    def _deadline(self, batch: Batch) -> AbstractAsyncContextManager[None]:
        """In relay mode a slow commit is never abandoned, as the relays would publish spooled events out of order.

        Events with keys wait for the database, and so do their neighbors: a batch is finished when it is answered.
        """
        seconds = None if self._spool is None or batch.has_keys else self._limits.spool_after_seconds
        return deadline(seconds, unless=lambda: self._dispatcher.relay_mode)

"""Commits batches whose order counts: clients are answered once the stream has their events."""

from contextlib import AbstractAsyncContextManager

from ingest.clock import Monotonic
from ingest.deadlines import deadline
from ingest.events.batch import Batch
from ingest.ordering.dispatcher import OrderedDispatcher
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.committer import Answer, Committer, CommitterLimits
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage


class OrderedCommitter(Committer):
    """Announces each batch before its commit, so that batches are published in the order of their ids."""

    def __init__(
        self,
        database: CommitTarget,
        spool: CommitTarget | None,
        outage: Outage,
        dispatcher: OrderedDispatcher,
        limits: CommitterLimits,
        metrics: Metrics,
        monotonic: Monotonic,
    ) -> None:
        super().__init__(database, spool, outage, dispatcher, limits, metrics, monotonic)
        self._dispatcher = dispatcher

    async def commit_and_answer(self, batch: Batch, waited_seconds: float, answer: Answer) -> None:
        pending = self._dispatcher.join(batch)  # before the first await: batches join in the order of their ids
        try:
            failures = await self.commit(batch, waited_seconds)
        finally:
            self._dispatcher.finish(pending)
        pending.answer.add_done_callback(lambda _: answer(failures))

    def _deadline(self, batch: Batch) -> AbstractAsyncContextManager[None]:
        """In relay mode a slow commit is never abandoned, as the relays would publish spooled events out of order.

        Events with keys wait for the database, and so do their neighbors: a batch is finished when it is answered.
        """
        seconds = None if self._spool is None or batch.has_keys else self._limits.spool_after_seconds
        return deadline(seconds, unless=lambda: self._dispatcher.relay_mode)

"""Commits a batch to one target, counts it, and passes it to the dispatcher."""

from ingest.clock import Monotonic
from ingest.errors import DuplicateKeys, KeyReused, StoreError
from ingest.events.batch import Batch, without
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.dispatcher import Dispatcher
from ingest.pipeline.outcomes import Failures
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage


class TargetCommitter:
    """Each batch that it commits becomes an outbox entry of its own."""

    def __init__(self, dispatcher: Dispatcher, outage: Outage | None, metrics: Metrics, monotonic: Monotonic) -> None:
        """A commit ends the `outage`. It is None where the spool's drainer ends it."""
        self._dispatcher = dispatcher
        self._outage = outage
        self._metrics = metrics
        self._monotonic = monotonic

    async def commit(self, batch: Batch, target: CommitTarget) -> Failures:
        """Commit all events but duplicates, which need only an answer. Raises `StoreError` if nothing was committed."""
        failures: dict[int, StoreError] = {}
        duplicates = 0
        while batch:
            try:
                await self._commit_new(batch, target)
                break
            except DuplicateKeys as exc:
                self._dispatcher.repeats(batch, exc.originals)
                failures |= {id(batch.events[at]): KeyReused() for at, same in exc.same.items() if not same}
                duplicates += sum(exc.same.values())
                batch = without(batch, exc.same)
        if duplicates:  # not after an error: the caller commits them again, with all others
            self.count_duplicates(duplicates)
        return failures

    def count_duplicates(self, events: int) -> None:
        self._metrics.durable_counters.count(None, accepted=events, repeated=events)

    async def _commit_new(self, batch: Batch, target: CommitTarget) -> None:
        lease_seconds = 0.0 if batch.provisional else self._dispatcher.lease_seconds(target)
        counters = self._metrics.durable_counters
        # The counters check the database's rows only. The drainer counts spooled events as stored when it commits them.
        pending = counters.begin(batch.first_id, batch.last_id, len(batch)) if target.in_database else None
        started = self._monotonic()
        try:
            relay_mode = await target.commit(batch, lease_seconds)
        except BaseException:
            counters.cancel(pending)
            raise
        if self._outage:
            self._outage.recovered()
        counters.count(pending, accepted=len(batch), stored=len(batch) if target.in_database else 0)
        self._metrics.count_stored(batch.events)
        self._metrics.commit_seconds.observe(self._monotonic() - started)
        self._metrics.batch_events.observe(len(batch))
        if not batch.provisional:  # its events are published later, with their final ids
            self._dispatcher.dispatch(batch, lease_seconds, target, relay_mode=relay_mode)

"""Publishes a worker's batches in order. Events that the stream never takes become dead letters and delay nobody."""

from collections.abc import Sequence

from ingest.broker.base import OrderedPublisher
from ingest.clock import Monotonic
from ingest.errors import NotConfirmed
from ingest.events.batch import Batch
from ingest.ordering.commit_queue import CommittedPart
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage


class OrderedPublish:
    """A call returns when the stream has all events that it takes. Raises `PublishError`."""

    def __init__(
        self,
        publisher: OrderedPublisher,
        dead_letter_policy: DeadLetterPolicy,
        outage: Outage,
        metrics: Metrics,
        monotonic: Monotonic,
    ) -> None:
        self._publisher = publisher
        self._dead_letter_policy = dead_letter_policy
        self._outage = outage
        self._metrics = metrics
        self._monotonic = monotonic

    @property
    def ready(self) -> bool:
        return self._publisher.ready

    async def publish(self, together: Batch, parts: Sequence[CommittedPart]) -> None:
        """Publish parts from memory. `together` joins them.

        A part that is not in the database's outbox does not hold up the relays: newer events may be in the stream.
        """
        started = self._monotonic()
        if all(part.target.in_database for part in parts):
            try:
                await self._publisher.publish(together)
            except NotConfirmed as exc:
                await self._add_dead_letters(together, exc)
        else:
            await self._publish_each_once([part.batch for part in parts])
        self._metrics.publish_seconds.observe(self._monotonic() - started)
        self._metrics.published.labels("memory").inc(len(together))
        self._outage.recovered()

    async def publish_deferred(self, batches: Sequence[Batch]) -> None:
        await self._publish_each_once(batches)
        self._metrics.published.labels("spool").inc(sum(map(len, batches)))
        self._outage.recovered()

    async def _publish_each_once(self, batches: Sequence[Batch]) -> None:
        """One by one, as a relay may publish entries between them if this process was suspended."""
        for batch in batches:
            for refused, exc in await self._publisher.publish_once([batch]):
                await self._add_dead_letters(refused, exc)

    async def _add_dead_letters(self, batch: Batch, exc: NotConfirmed) -> None:
        """Make dead letters of the events that were refused for good. Raises the exception if others were refused."""
        added = await self._dead_letter_policy.add_permanent(batch, exc, dict.fromkeys(exc.positions, 1))
        if set(exc.positions) - set(added):
            raise exc

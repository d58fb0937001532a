"""Publishes what it is a worker's turn to publish; what the stream never takes is buried and holds nobody up."""

from collections.abc import Sequence

from ingest.broker.base import OrderedPublisher
from ingest.clock import Monotonic
from ingest.errors import NotConfirmed
from ingest.events.batch import Batch
from ingest.ordering.commit_queue import CommittedPart
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.telemetry.metrics import Metrics


class OrderedPublish:
    """Returned means: the stream has all of it that it can take. Raises `PublishError`."""

    def __init__(
        self, publisher: OrderedPublisher, dead_letter_policy: DeadLetterPolicy, metrics: Metrics, monotonic: Monotonic
    ) -> None:
        self._publisher = publisher
        self._dead_letter_policy = dead_letter_policy
        self._metrics = metrics
        self._monotonic = monotonic

    async def publish(self, together: Batch, parts: Sequence[CommittedPart]) -> None:
        """From memory; `together` are the parts.

        What is not in the database's outbox does not hold up the relays: newer events may have overtaken it.
        """
        started = self._monotonic()
        if all(part.target.in_database for part in parts):
            try:
                await self._publisher.publish(together)
            except NotConfirmed as exc:
                await self._but_hopeless(together, exc)
        else:
            await self._publish_missing([part.batch for part in parts])
        self._metrics.publish_seconds.observe(self._monotonic() - started)
        self._metrics.published.labels("memory").inc(len(together))

    async def publish_left(self, batches: Sequence[Batch]) -> None:
        """From the spool."""
        await self._publish_missing(batches)
        self._metrics.published.labels("spool").inc(sum(map(len, batches)))

    async def _publish_missing(self, batches: Sequence[Batch]) -> None:
        for batch, exc in await self._publisher.republish_missing(batches):
            await self._but_hopeless(batch, exc)

    async def _but_hopeless(self, batch: Batch, exc: NotConfirmed) -> None:
        """Bury what was refused for good; raises the exception if there is more."""
        dead_lettered = await self._dead_letter_policy.add_permanent(batch, exc, dict.fromkeys(exc.positions, 1))
        if set(exc.positions) - set(dead_lettered):
            raise exc

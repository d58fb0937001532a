"""Relays that keep the order, and publish each event once: of the database's outbox, and of dead workers' spools."""

from collections.abc import Sequence

from ingest.broker.base import OrderedPublisher
from ingest.errors import PublishError
from ingest.events.batch import Batch
from ingest.ordering.base import OrderedStore
from ingest.ordering.recovery import OLDER_FIRST
from ingest.outbox.base import Outbox
from ingest.outbox.relay import Relay, RelayTools

RELAY_MODE_POLL_SECONDS = 0.1
"""Pause of a relay that has found nothing to publish in relay mode."""


class OrderedRelay(Relay):
    """Claims come in order. A batch that failed is published again before newer ones."""

    def __init__(self, store: OrderedStore, publisher: OrderedPublisher, tools: RelayTools) -> None:
        super().__init__(store, publisher, tools)
        self._ordered = publisher
        self._store = store

    def retry(self, first_id: int, positions: Sequence[int]) -> None:
        """Do nothing: entries are claimed in their order."""

    async def round(self) -> bool:
        if await super().round() or self._claimed:
            return True
        relay_mode_is_off = await self._store.leave_relay_mode(self._publish_last)
        self._pause_seconds = self._limits.poll_seconds if relay_mode_is_off else RELAY_MODE_POLL_SECONDS
        return False

    async def _publish_last(self, batches: Sequence[Batch]) -> None:
        for outcome in await self._publish_all(batches):
            if outcome is not None:
                raise outcome
        for batch in batches:
            self._rests.pop(batch.first_id, None)

    async def _publish_all(self, batches: Sequence[Batch]) -> Sequence[BaseException | None]:
        """An event whose entry is settled is in the stream, or is a dead letter, even after earlier failures."""
        newest = await self._ordered.newest_ids_of(batches)
        outcomes = await super()._publish_all(batches)
        published = [batch for batch, outcome in zip(batches, outcomes, strict=True) if outcome is None]
        for _, exc in await self._ordered.republish_discarded(published, newest):
            if set(exc.positions) - set(exc.never):
                raise exc
        return outcomes

    def _again(self, failed: Sequence[int]) -> None:
        self._claimed.extendleft(reversed(failed))


class OrderedSpoolRelay(Relay):
    """Publishes what dead workers left in this worker's spool. The stream may have newer events of them already."""

    def __init__(self, outbox: Outbox, store: OrderedStore, publisher: OrderedPublisher, tools: RelayTools) -> None:
        super().__init__(outbox, publisher, tools, "spool")
        self._ordered = publisher
        self._store = store

    def retry(self, first_id: int, positions: Sequence[int]) -> None:
        """Do nothing: the dispatcher publishes the batches that this worker spooled itself."""

    async def _publish_slice(self) -> None:
        first_ids, batches = await self._read_slice()
        for batch in batches:
            if await self._store.has_older(batch.first_id):
                raise PublishError(OLDER_FIRST)
        for batch, exc in await self._ordered.republish_missing(batches, "relay"):
            if await self._not_dead_lettered(batch, range(len(batch)), exc):
                raise exc
        for _ in first_ids:
            self._claimed.popleft()
        self._metrics.published.labels(self._route).inc(sum(map(len, batches)))
        self._outage.recovered()
        await self._settle(first_ids)

"""Relays that keep the order, and publish each event once: of the database's outbox, and of dead workers' spools."""

from collections.abc import Mapping, Sequence

from ingest.broker.base import OrderedPublisher
from ingest.errors import PublishError
from ingest.events.batch import Batch
from ingest.ordering.base import OrderedStore
from ingest.ordering.dispatcher import OLDER_FIRST
from ingest.outbox.base import Outbox
from ingest.outbox.relay import Relay, RelayTools
from ingest.telemetry.labels import Route

RELAY_MODE_POLL_SECONDS = 0.1
"""Pause of a relay that has found nothing to publish in relay mode."""


class OnceRelay(Relay):
    """Claims come in order. A batch that failed is published again before newer ones."""

    kept_share = 1.0
    """Two relays that publish the same do no harm. All relays wait for these entries, also after an outage of MySQL."""

    def __init__(self, outbox: Outbox, publisher: OrderedPublisher, tools: RelayTools, route: Route) -> None:
        super().__init__(outbox, publisher, tools, route)
        self._ordered = publisher

    def retry(self, batch: Batch, positions: Sequence[int]) -> None:
        """Do nothing: entries are claimed in their order, and the dispatcher publishes what this worker spooled."""

    async def _publish_all(self, batches: Sequence[Batch]) -> Mapping[int, BaseException]:
        """An event whose entry is settled is in the stream, or is a dead letter, even after earlier failures."""
        failed: dict[int, BaseException] = {}
        try:
            for batch, exc in await self._ordered.publish_once(batches):
                if await self._not_dead_lettered(batch, range(len(batch)), exc):
                    failed[batch.first_id] = exc
        except PublishError as exc:
            self._metrics.publish_failed.labels(self._route).inc(sum(map(len, batches)))
            self._outage.record(0, str(exc))
            raise
        now_us = self._now_us()
        for batch in batches:
            if batch.first_id not in failed:
                seconds = (now_us - batch.created_us) / 1e6
                self._metrics.published.labels(self._route).inc(len(batch))
                self._metrics.end_to_end_seconds.labels(self._route).observe_times(seconds, len(batch))
        self._outage.recovered()
        return failed

    def _again(self, failed: Sequence[int]) -> None:
        self._claimed.extendleft(sorted(failed, reverse=True))


class OrderedRelay(OnceRelay):
    """Publishes the database's outbox, and leaves relay mode when few entries are left."""

    def __init__(self, store: OrderedStore, publisher: OrderedPublisher, tools: RelayTools) -> None:
        super().__init__(store, publisher, tools, "relay")
        self._store = store

    async def round(self) -> bool:
        if await super().round() or self._claimed:
            return True
        relay_mode_is_off = await self._store.leave_relay_mode(self._publish_last)
        self._pause_seconds = self._limits.poll_seconds if relay_mode_is_off else RELAY_MODE_POLL_SECONDS
        return False

    async def _publish_last(self, batches: Sequence[Batch]) -> None:
        for error in (await self._publish_all(batches)).values():
            raise error


class OrderedSpoolRelay(OnceRelay):
    """Publishes what dead workers left in this worker's spool. The stream may have newer events of them already."""

    def __init__(self, outbox: Outbox, store: OrderedStore, publisher: OrderedPublisher, tools: RelayTools) -> None:
        super().__init__(outbox, publisher, tools, "spool")
        self._store = store

    async def _publish_all(self, batches: Sequence[Batch]) -> Mapping[int, BaseException]:
        for batch in batches:
            if await self._store.has_older(batch.first_id):
                raise PublishError(OLDER_FIRST)
        return await super()._publish_all(batches)

"""Relays that keep the order, and each event once: of the database's outbox, and of what dead workers left behind."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ingest.broker.base import OrderedPublisher
from ingest.errors import PublishError
from ingest.events.batch import Batch
from ingest.ordering.dispatcher import OLDER_FIRST
from ingest.outbox.base import Outbox
from ingest.outbox.relay import Relay, RelayTools

BEHIND_POLL_SECONDS = 0.1
"""How often a relay looks for more while every worker leaves its events to them."""


class Order(Protocol):
    """See `ingest.ordering.base.OrderedStore`."""

    async def has_older(self, event_id: int) -> bool: ...


class OrderedOutbox(Outbox, Protocol):
    """See `ingest.ordering.base.OrderedStore`."""

    async def leave_relay_mode(self, publish: Callable[[Sequence[Batch]], Awaitable[None]]) -> bool: ...


class OrderedRelay(Relay):
    """See `ingest.outbox.relay`. Claims are given in order, and what failed is published before what follows."""

    def __init__(self, outbox: OrderedOutbox, publisher: OrderedPublisher, tools: RelayTools) -> None:
        super().__init__(outbox, publisher, tools)
        self._ordered = publisher
        self._order = outbox

    def retry(self, first_id: int, positions: Sequence[int]) -> None:
        """Nothing is taken over: entries are claimed in their order, or not at all."""

    async def round(self) -> bool:
        if await super().round() or self._claimed:
            return True
        caught_up = await self._order.leave_relay_mode(self._publish_last)
        self._pause_seconds = self._limits.poll_seconds if caught_up else BEHIND_POLL_SECONDS
        return False

    async def _publish_last(self, batches: Sequence[Batch]) -> None:
        for outcome in await self._publish_all(batches):
            if outcome is not None:
                raise outcome
        for batch in batches:
            self._rests.pop(batch.first_id, None)

    async def _publish_all(self, batches: Sequence[Batch]) -> Sequence[BaseException | None]:
        """Whatever went wrong before, an event that is settled is in the stream, or is a dead letter."""
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
    """Of what this worker's spool has of others. Newer events of theirs may be in the stream already."""

    def __init__(self, outbox: Outbox, order: Order, publisher: OrderedPublisher, tools: RelayTools) -> None:
        super().__init__(outbox, publisher, tools, "spool")
        self._ordered = publisher
        self._order = order

    def retry(self, first_id: int, positions: Sequence[int]) -> None:
        """Nothing: what this worker has put there itself is its dispatcher's."""

    async def _publish_slice(self) -> None:
        first_ids, batches = await self._read_slice()
        for batch in batches:
            if await self._order.has_older(batch.first_id):
                raise PublishError(OLDER_FIRST)
        for batch, exc in await self._ordered.republish_missing(batches, "relay"):
            if await self._not_dead_lettered(batch, range(len(batch)), exc):
                raise exc
        for _ in first_ids:
            self._claimed.popleft()
        self._metrics.published.labels(self._route).inc(sum(map(len, batches)))
        self._outage.recovered()
        await self._settle(first_ids)

"""Publishes what memory did not: outbox entries whose lease ran out, after a crash or an outage.

Runs in every worker. Claims are short leases, so a worker that dies with some loses nothing; no lock
is held while the broker is spoken to.
"""

import asyncio
import logging
import random
from collections.abc import Sequence

import msgspec

from ingest.batches import Batch
from ingest.clock import Monotonic
from ingest.errors import PublishError, StoreError
from ingest.metrics import Metrics
from ingest.outage import Outage
from ingest.publisher.base import Publisher
from ingest.store.base import Store

log = logging.getLogger("ingest.relay")

SLICE_ENTRIES = 16
"""Entries read into memory and published at a time; each is one batch of bounded bytes."""


class RelayLimits(msgspec.Struct, frozen=True):
    poll_seconds: float
    entries_max: int
    lease_seconds: float


class Relay:
    """`run` works until it is cancelled; no error of store or broker ends it."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        limits: RelayLimits,
        outage: Outage,
        metrics: Metrics,
        monotonic: Monotonic,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._limits = limits
        self._outage = outage
        self._metrics = metrics
        self._monotonic = monotonic

    async def run(self) -> None:
        while True:
            more = False
            try:
                more = self._publisher.ready and await self.round()
            except (StoreError, PublishError) as exc:
                log.debug("a relay round ended early", extra={"reason": str(exc)})
            except Exception:
                log.exception("the relay failed unexpectedly; it goes on")
            if not more:
                await asyncio.sleep(self._limits.poll_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def round(self) -> bool:
        """Claim, publish and settle some entries; True if there may be more.

        Raises `StoreError`, or the first `PublishError` after settling what was confirmed.
        """
        claimed = self._monotonic()
        first_ids = await self._store.claim(self._limits.entries_max, self._limits.lease_seconds)
        for start in range(0, len(first_ids), SLICE_ENTRIES):
            if self._monotonic() - claimed > self._limits.lease_seconds / 2:
                break  # the broker is slow: leave the rest to whoever claims it when the lease is over
            await self._publish_slice(first_ids[start : start + SLICE_ENTRIES])
        return len(first_ids) == self._limits.entries_max

    async def _publish_slice(self, first_ids: Sequence[int]) -> None:
        batches = await self._store.read(first_ids)
        outcomes = await asyncio.gather(*(self._publish(batch) for batch in batches), return_exceptions=True)
        confirmed = [batch.first_id for batch, outcome in zip(batches, outcomes, strict=True) if outcome is None]
        if confirmed:
            await self._store.settle(confirmed)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _publish(self, batch: Batch) -> None:
        started = self._monotonic()
        try:
            await self._publisher.publish(batch, "relay")
        except PublishError as exc:
            self._metrics.publish_failed.labels("relay").inc(len(batch))
            self._outage.left_to_relay(0, str(exc))
            raise
        self._metrics.publish_seconds.observe(self._monotonic() - started)
        self._metrics.published.labels("relay").inc(len(batch))
        self._outage.over()

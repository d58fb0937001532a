"""Publishes outbox entries whose lease ran out: after a crash or an outage their worker did not publish them.

A relay runs in every worker. A claim is a short lease, so a worker that dies with claims loses nothing. No lock is held
while the relay publishes.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec

from ingest.broker.base import Publisher
from ingest.clock import Monotonic, NowUs
from ingest.errors import NotConfirmed, PublishError, StoreError
from ingest.events.batch import Batch
from ingest.outbox.base import Outbox
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.outbox.progress import Progress
from ingest.telemetry.labels import Route
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage
from ingest.ticks import pause

log = logging.getLogger("ingest.relay")

SLICE_EVENTS = 1000
SLICE_BYTES = 4 << 20
"""The relay publishes and settles this much at a time. An outage at little load leaves many small entries. The broker's
fsync and the settling commit cost the same for few events as for many."""
READ_ENTRIES = 16
"""Entries read at a time. Each is one batch of bounded bytes, so a slice has at most `SLICE_BYTES` and 16 batches."""


class RelayLimits(msgspec.Struct, frozen=True):
    poll_seconds: float
    entries_max: int
    lease_seconds: float


class RelayTools(msgspec.Struct, frozen=True):
    """The parts that all relays of a worker share."""

    limits: RelayLimits
    outage: Outage
    metrics: Metrics
    monotonic: Monotonic
    now_us: NowUs
    dead_letter_policy: DeadLetterPolicy
    progress: Progress


class Relay:
    """`run` works until it is cancelled. No error of store or broker ends it."""

    kept_share = 0.5
    """Share of a lease during which claims are kept. After that, the relay that claims the rest then publishes it."""

    def __init__(
        self,
        outbox: Outbox,
        publisher: Publisher,
        tools: RelayTools,
        route: Route = "relay",
        *,
        entries_move: bool = False,
    ) -> None:
        """`entries_move`: another outbox of this worker may have an entry after it is settled here."""
        self._outbox = outbox
        self._entries_move = entries_move
        self._publisher = publisher
        self._route = route
        self._limits = tools.limits
        self._outage = tools.outage
        self._metrics = tools.metrics
        self._monotonic = tools.monotonic
        self._now_us = tools.now_us
        self._dead_letter_policy = tools.dead_letter_policy
        self._claimed: deque[int] = deque()
        self._claimed_until = 0.0
        self._progress = tools.progress
        self._pause_seconds = tools.limits.poll_seconds

    async def run(self) -> None:
        while True:
            more = False
            try:
                more = self._publisher.ready and await self.round()
            except (StoreError, PublishError) as exc:
                log.debug("a relay round ended early", extra={"reason": str(exc)})
            except Exception:
                log.exception("the relay failed unexpectedly; it goes on")
                self._metrics.background_failures.labels("relay").inc()
            if not more:
                await pause(self._pause_seconds)

    def retry(self, batch: Batch, positions: Sequence[int]) -> None:
        """Publish these positions of a batch whose entry this worker has leased and could not publish itself."""
        if len(self._claimed) >= self._limits.entries_max:
            return  # a relay claims it when its lease is over
        if not self._claimed:
            self._keep_claims()
        self._claimed.append(batch.first_id)
        if self._progress.of(batch) is None:
            self._progress.remember(batch, positions)

    async def round(self) -> bool:
        """Publish and settle the claimed entries, and claim entries first if there are none.

        Return True if there may be more. Raises `StoreError`, or the first `PublishError` after the confirmed entries
        are settled. The next round goes on with the entries that this one has left.
        """
        if not self._claimed or self._monotonic() >= self._claimed_until:
            self._keep_claims()
            self._claimed.clear()
            self._claimed.extend(await self._outbox.claim(self._limits.entries_max, self._limits.lease_seconds))
        full = len(self._claimed) == self._limits.entries_max
        while self._claimed and self._monotonic() < self._claimed_until:
            await self._publish_slice()
        return full

    def _keep_claims(self) -> None:
        self._claimed_until = self._monotonic() + self._limits.lease_seconds * self.kept_share

    async def _publish_slice(self) -> None:
        first_ids, batches = await self._read_slice()
        failed = await self._publish_all(batches)
        again = list(failed)
        try:
            await self._settle([batch.first_id for batch in batches if batch.first_id not in failed])
        except StoreError:
            again = [batch.first_id for batch in batches]  # settled by the next round, before others publish them again
            raise
        finally:
            for _ in first_ids:
                self._claimed.popleft()
            self._again(again)
        for error in failed.values():
            raise error

    async def _publish_all(self, batches: Sequence[Batch]) -> Mapping[int, BaseException]:
        """Return the errors of batches that may not be settled, by first id. Raises `PublishError` if none may be."""
        outcomes = await asyncio.gather(*(self._publish(batch) for batch in batches), return_exceptions=True)
        return {batch.first_id: error for batch, error in zip(batches, outcomes, strict=True) if error is not None}

    def _again(self, failed: Sequence[int]) -> None:
        """Publish these again after the others, so that an entry that is always refused delays none."""
        self._claimed.extend(failed)

    async def _read_slice(self) -> tuple[list[int], list[Batch]]:
        """Read the next claimed entries: their first ids and their batches. They stay claimed."""
        first_ids: list[int] = []
        batches: list[Batch] = []
        events = size = 0
        while events < SLICE_EVENTS and size < SLICE_BYTES:
            part = list(islice(self._claimed, len(first_ids), len(first_ids) + READ_ENTRIES))
            if not part:
                break
            read = await self._outbox.read(part)
            first_ids += part
            batches += read
            events += sum(len(batch) for batch in read)
            size += sum(batch.payload_bytes for batch in read)
        return first_ids, batches

    async def _settle(self, first_ids: Sequence[int]) -> None:
        if not first_ids:
            return
        await self._outbox.settle(first_ids)
        if not self._entries_move:
            for first_id in first_ids:
                self._progress.forget(first_id)

    async def _publish(self, batch: Batch) -> None:
        known = self._progress.of(batch)
        positions = range(len(batch)) if known is None else known
        if not positions:
            return
        if known is not None:
            self._metrics.publish_retries.inc(len(positions))
        started = self._monotonic()
        rest: Sequence[int] = positions
        try:
            await self._publisher.publish(batch.picked(positions), "relay")
            rest = ()
            self._metrics.publish_seconds.observe(self._monotonic() - started)
            self._outage.recovered()
        except PublishError as exc:
            if isinstance(exc, NotConfirmed):
                rest = await self._not_dead_lettered(batch, positions, exc)
                if not rest:
                    return
            self._metrics.publish_failed.labels(self._route).inc(len(rest))
            self._outage.record(0, str(exc))
            raise
        finally:
            seconds, published = (self._now_us() - batch.created_us) / 1e6, len(positions) - len(rest)
            self._metrics.published.labels(self._route).inc(published)
            self._metrics.end_to_end_seconds.labels(self._route).observe_times(seconds, published)
            self._progress.remember(batch, rest)

    async def _not_dead_lettered(self, batch: Batch, positions: Sequence[int], exc: NotConfirmed) -> Sequence[int]:
        """Return the refused positions that did not become dead letters: they are tried again."""
        refused = exc.among(positions)
        dead_lettered = await self._dead_letter_policy.add_permanent(
            batch, refused, self._progress.tries.count(batch.first_id, refused)
        )
        return [at for at in refused.positions if at not in dead_lettered]

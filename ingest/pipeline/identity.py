"""A worker's right to make ids: it leases an id slot, renews the lease, and leases another slot if it loses this one.

A worker that has a spool but no slot makes provisional ids. Its events are durable in the spool, and clients get 200.
Other nodes may make the same ids, so the events become rows and messages only under new ids, once there is a slot.
"""

import asyncio
import logging
from collections.abc import Callable

from ingest.clock import NowUs, jittered
from ingest.errors import StoreError, StoreUnavailable
from ingest.events.batch import Batch
from ingest.events.ids import CLOCKS_APART_MS_MAX, IdGenerator
from ingest.pipeline.id_lease import RENEW_SECONDS, IdLease

log = logging.getLogger("ingest.identity")

TRY_SECONDS = 0.5
WAITS = "one is leased as soon as the database is there"
RELEASE_SECONDS = 2.0
"""A clean stop waits this long for the end of the lease."""
RESTART_SECONDS = 600.0
"""The lease lasts this long after a clean stop if the next start needs the slot to take events: see `release`."""
KEPT = "in the spool, under provisional ids, until there is a slot"


class Identity:
    """`run` works until it is cancelled. It calls `use_ids` with the generator to use, or with None."""

    def __init__(self, slots: IdLease, now_us: NowUs, provisional_slot: int | None, release_seconds: float) -> None:
        """If `provisional_slot` is None, there are no ids without a lease. `release` explains `release_seconds`."""
        self._slots = slots
        self._now_us = now_us
        self._provisional_slot = provisional_slot
        self._release_seconds = release_seconds
        self._provisional: IdGenerator | None = None
        self._leased: IdGenerator | None = None
        self._reason = WAITS
        self._told = ""
        self._changing = asyncio.Lock()
        self.use_ids: Callable[[IdGenerator | None], None] = lambda _: None

    @property
    def problem(self) -> str | None:
        """The reason why there is no slot, for `/readyz`."""
        if self._leased:
            return None
        kept = "; events wait in the spool, unpublished" if self._provisional else ""
        return f"no id slot yet: {self._reason}{kept}"

    async def run(self) -> None:
        await self._recall()
        while True:
            had = self._leased is not None
            kept = await self._keep()
            if had or not kept:
                await asyncio.sleep(RENEW_SECONDS if kept else jittered(TRY_SECONDS))

    async def give_up(self, batch: Batch) -> None:
        """Switch to other ids, because other events have the ids of this batch, which was not acknowledged.

        Raises `StoreError` if there are no other ids.
        """
        async with self._changing:
            if self._leased and self._leased.producer == batch.producer:
                log.warning("other events have this worker's ids: it leases another slot", extra={"slot": batch.slot})
                self._leave()  # at once: other writers make ids meanwhile
                await self._slots.give_up()
            if self._leased is None:
                await self._take_or_do_without()

    async def renew_ids(self, batch: Batch) -> Batch:
        """Return the same events with ids of this worker's slot. Raises `StoreError` if it has no slot."""
        async with self._changing:
            if self._leased is None:
                await self._take()
            assert self._leased is not None, "it was taken"  # noqa: S101 - a programming error
            return batch.renamed(self._leased)

    async def release(self) -> None:
        """End the lease in `release_seconds`, at a clean stop. No more ids are made. Never fails, and is bounded."""
        if self._leased and self._slots.lease:  # the stop may have come while the slot was given up
            try:
                async with asyncio.timeout(RELEASE_SECONDS):
                    await self._slots.release(self._leased.last_ms, self._release_seconds)
            except (StoreError, OSError) as exc:  # a TimeoutError is an OSError
                log.info("the id slot's lease goes on until its end", extra={"reason": str(exc) or "out of time"})
        self._slots.let_go()

    async def _recall(self) -> None:
        try:
            if await self._slots.recall():
                self._use_slot()
        except OSError as exc:
            log.warning("remembered id slots cannot be read; one is leased", extra={"reason": str(exc)})
            self._slots.let_go()

    async def _keep(self) -> bool:
        """Lease or renew a slot. Return whether the worker has one now."""
        try:
            async with self._changing:
                if self._leased is None:
                    await self._take_or_do_without()
                else:
                    await self._renew(self._leased)
        except (StoreError, OSError) as exc:
            self._miss(exc)
            return False
        return self._leased is not None

    async def _take_or_do_without(self) -> None:
        self._leave()
        try:
            await self._take()
        except StoreError as exc:
            self._miss(exc)
            if self._provisional is None:
                raise

    async def _take(self) -> None:
        try:
            await self._slots.take()
        except OSError as exc:
            raise StoreError(f"The data folder cannot be used: {exc}.") from exc
        self._use_slot()

    def _use_slot(self) -> None:
        lease = self._slots.lease
        assert lease is not None, "it was taken"  # noqa: S101 - a programming error
        self._leased = IdGenerator(lease.slot, self._now_us, lease.last_issued_ms)
        self._told = ""
        self._provisional = None
        self.use_ids(self._leased)
        log.info("id slot taken", extra={"slot": lease.slot})

    async def _renew(self, ids: IdGenerator) -> None:
        if ids.last_ms > self._now_us() // 1000 + CLOCKS_APART_MS_MAX:
            self._lose("its ids are far ahead of the clock, which went back")
            try:
                await self._slots.release(ids.last_ms, 0.0)  # another worker may have it before the answer is here
            finally:
                self._slots.let_go()
            await self._take_or_do_without()
        elif not await self._slots.renew(ids.last_ms):
            self._lose("another worker has it: a copy of this data folder, or the database was restored")
            await self._slots.give_up()
            await self._take_or_do_without()

    def _lose(self, reason: str) -> None:
        log.warning("the id slot was lost; a new one is leased", extra={"reason": reason})
        self._reason = reason
        self._leave()

    def _leave(self) -> None:
        """Make no more ids of the slot. This comes before anything by which another worker could have it."""
        self._leased = None
        if self._provisional is None and self._provisional_slot is not None and self._slots.known:
            self._provisional = IdGenerator(self._provisional_slot, self._now_us)
        self.use_ids(self._provisional)

    def _miss(self, exc: Exception) -> None:
        """Log that there is no slot: once, and again when the reason changes."""
        reason = str(exc)
        if self._leased and not self._slots.is_over:
            log.debug("the id slot's lease is not renewed", extra={"reason": reason})
            return
        if self._leased:
            self._lose("its lease is over, and the database was away")
            self._slots.let_go()
        self._reason = WAITS if isinstance(exc, StoreUnavailable) else reason
        if reason != self._told:
            self._told = reason
            log.warning("no id slot", extra={"reason": reason, "kept": KEPT if self._provisional else "nothing"})

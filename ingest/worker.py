"""One worker process's pipeline: its parts, started and stopped in order."""

import asyncio
import gc
import logging
from collections.abc import Mapping
from typing import Protocol

import msgspec

from ingest.backlog_watch import BacklogWatch
from ingest.batcher import Batcher
from ingest.bodies import BodyReader
from ingest.clock import NowUs
from ingest.dispatcher import Dispatcher
from ingest.endpoint import Endpoint
from ingest.errors import StoreError
from ingest.grants import Grants
from ingest.health import Health, Spool
from ingest.homes import Home, Keeper
from ingest.ids import IdGenerator
from ingest.key_cleaner import KeyCleaner
from ingest.keys import Keys
from ingest.lock_watch import LockWatch
from ingest.metrics import Metrics
from ingest.publisher.base import Publisher
from ingest.relay import Relay
from ingest.settler import Settler
from ingest.slots import RENEW_SECONDS, SlotKeeper
from ingest.store.base import Outbox, Store
from ingest.tasks import BackgroundTask, end, supervise
from ingest.token_watch import TokenWatch

log = logging.getLogger("ingest.worker")

SLOT_TRY_SECONDS = 0.5
LEVELS_SECONDS = 1.0
START_SECONDS_MAX = 2.0
"""Requests that come before there are ids are refused, so the first ones wait this long for ids and servers."""
START_POLL_SECONDS = 0.02


class SpoolStore(Keeper, Outbox, Protocol):
    async def start(self) -> None: ...
    async def close(self) -> None: ...


class Drainer(Protocol):
    async def run(self) -> None:
        """Bring the spool's batches to the database until cancelled."""


class SpoolParts(msgspec.Struct, frozen=True):
    """The spool with its own settler and relay, and who brings its batches to the database."""

    store: SpoolStore
    settler: Settler
    relay: Relay
    drainer: Drainer
    watch: Spool

    @property
    def home(self) -> Home:
        return Home(self.store, self.settler, self.relay, in_database=False)


class Parts(msgspec.Struct, frozen=True):
    """What `app` has wired together for one worker."""

    store: Store
    spool: SpoolParts | None
    publisher: Publisher
    metrics: Metrics
    bodies: BodyReader
    batcher: Batcher
    dispatcher: Dispatcher
    settler: Settler
    relay: Relay
    health: Health
    locks: LockWatch
    backlog_watch: BacklogWatch
    slots: SlotKeeper
    grants: Grants
    keys: Keys
    key_cleaner: KeyCleaner
    token_watch: TokenWatch
    endpoint: Endpoint


class Worker:
    """Starts also while database or broker is away: it takes events as soon as both ids and store are there."""

    def __init__(
        self, parts: Parts, background: Mapping[str, BackgroundTask], now_us: NowUs, drain_timeout_seconds: float
    ) -> None:
        """`background` tasks run as long as the worker lives; one that fails starts again."""
        self.parts = parts
        self._background = background
        self._now_us = now_us
        self._drain_timeout_seconds = drain_timeout_seconds
        self._tasks: list[asyncio.Task[None]] = []
        self._ids: IdGenerator | None = None

    async def start(self) -> None:
        parts = self.parts
        for name, task in self._background.items():
            self._run(task, name)
        await parts.store.start()
        await parts.publisher.start()
        parts.batcher.start()
        self._run(parts.bodies.sweep, "body-deadlines")
        self._run(parts.health.run, "health")
        self._run(parts.backlog_watch.run, "backlog")
        self._run(parts.relay.run, "relay")
        self._run(parts.locks.run, "locks")
        self._run(self._keep_slot, "id-slot")
        self._run(parts.key_cleaner.run, "keys")
        parts.token_watch.recall()
        self._run(parts.token_watch.run, "tokens")
        if parts.spool:
            await self._start_spool(parts.spool)
        self._run(self._show_levels, "levels")
        parts.metrics.workers.set(1)
        await self._until_ready()
        # Collections of the cyclic GC cost 5 % of a worker: what lives from here on stays, and the
        # pipeline makes no cycles, so the rest is looked at rarely.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    async def stop(self) -> None:
        """Finish what is in hand, within the drain timeout; the outbox keeps what is not."""
        parts = self.parts
        parts.health.draining = True
        parts.endpoint.drain()
        try:
            async with asyncio.timeout(self._drain_timeout_seconds):
                await parts.batcher.drain()
                await parts.dispatcher.drain()
                for settler in self._settlers():
                    await settler.drain()
        except TimeoutError:
            log.warning("the drain took too long; the outbox keeps the rest", extra={"events": self._in_hand()})
        if self._ids:
            parts.slots.record(self._ids.last_ms)
        await end(self._tasks)
        parts.token_watch.count()
        await parts.batcher.close()
        await parts.dispatcher.close()
        for settler in self._settlers():
            await settler.close()
        await parts.publisher.close()
        await parts.store.close()
        if parts.spool:
            await parts.spool.store.close()
        parts.slots.release()

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                while self.parts.health.report().status != "ready":  # noqa: ASYNC110 - three watchers, no one event
                    await asyncio.sleep(START_POLL_SECONDS)
        except TimeoutError:
            log.warning("started without its servers", extra={"checks": self.parts.health.report().checks})

    async def _start_spool(self, spool: SpoolParts) -> None:
        try:
            await spool.store.start()
        except StoreError as exc:
            log.error("the spool cannot be used; it is tried again with each batch", extra={"reason": str(exc)})
        self._run(spool.relay.run, "spool-relay")
        self._run(spool.drainer.run, "drainer")

    def _settlers(self) -> list[Settler]:
        spool = self.parts.spool
        return [self.parts.settler, spool.settler] if spool else [self.parts.settler]

    def _in_hand(self) -> int:
        return self.parts.batcher.queued_events + self.parts.dispatcher.inflight_events

    def _run(self, task: BackgroundTask, name: str) -> None:
        self._tasks.append(supervise(task, name, self.parts.metrics.background_failures.labels(name).inc))

    async def _keep_slot(self) -> None:
        """Get an id slot as soon as one is to be had, and keep it."""
        while True:
            try:
                if self._ids is None:
                    await self._take_slot()
                else:
                    # At once for a remembered slot: the database may know better who has it.
                    await self._renew_slot(self._ids)
                    await asyncio.sleep(RENEW_SECONDS)
            except (StoreError, OSError) as exc:
                log.debug("no id slot yet, or not renewed", extra={"reason": str(exc)})
                await asyncio.sleep(SLOT_TRY_SECONDS)

    async def _take_slot(self) -> None:
        lease = await self.parts.slots.acquire()
        self._ids = IdGenerator(lease.slot, self._now_us, lease.floor_ms)
        self.parts.batcher.use_ids(self._ids)
        self.parts.health.has_slot = True
        log.info("id slot taken", extra={"slot": lease.slot})

    async def _renew_slot(self, ids: IdGenerator) -> None:
        if not await self.parts.slots.renew(ids.last_ms):
            log.warning("the id slot was lost to another node; taking a new one", extra={"slot": ids.slot})
            self.parts.batcher.use_ids(None)
            self._ids = None
            self.parts.health.has_slot = False

    async def _show_levels(self) -> None:
        while True:
            self.parts.metrics.queued_events.set(self.parts.batcher.queued_events)
            self.parts.metrics.inflight_events.set(self.parts.dispatcher.inflight_events)
            await asyncio.sleep(LEVELS_SECONDS)

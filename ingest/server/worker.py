"""One worker process's pipeline: its parts, started and stopped in order."""

import asyncio
import gc
import logging
from collections.abc import Mapping
from typing import Protocol

import msgspec

from ingest.auth.authenticator import Authenticator
from ingest.auth.token_refresh import TokenRefresher
from ingest.broker.base import Publisher
from ingest.broker.target_record import SharedTarget
from ingest.clock import NowUs
from ingest.errors import StoreError
from ingest.events.ids import IdGenerator
from ingest.files.lock_watch import LockWatch
from ingest.http.admission import Admission
from ingest.http.body_reader import BodyReader
from ingest.outbox.backlog import BacklogWatch
from ingest.outbox.base import Outbox
from ingest.outbox.relay import Relay
from ingest.outbox.settler import Settler
from ingest.pipeline.batcher import Batcher
from ingest.pipeline.commit_target import BatchStore, CommitTarget
from ingest.pipeline.dispatcher import Dispatcher
from ingest.pipeline.identity import Identity
from ingest.retention.idempotency_keys import KeyCleaner
from ingest.status.health import Health, Spool
from ingest.store.base import Store
from ingest.tasks import BackgroundTask, end, supervise
from ingest.telemetry.metrics import Metrics

log = logging.getLogger("ingest.worker")

LEVELS_SECONDS = 1.0
START_SECONDS_MAX = 2.0
"""Requests that come before there are ids are refused, so the first ones wait this long for ids and servers."""
START_POLL_SECONDS = 0.02


class SpoolStore(BatchStore, Outbox, Protocol):
    async def start(self) -> None: ...
    async def close(self) -> None: ...


class Drainer(Protocol):
    async def run(self) -> None:
        """Bring the spool's batches to the database until cancelled."""


class Adoption(Protocol):
    async def run(self) -> None:
        """Take over what dead workers left in their spools, until cancelled."""


class SpoolParts(msgspec.Struct, frozen=True):
    """The spool with its own settler and relay, who brings its batches to the database, and who adopts others'."""

    store: SpoolStore
    settler: Settler
    relay: Relay
    drainer: Drainer
    adoption: Adoption
    watch: Spool

    @property
    def target(self) -> CommitTarget:
        return CommitTarget(self.store, self.settler, self.relay, in_database=False)


class Pipeline(msgspec.Struct, frozen=True):
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
    shared_target: SharedTarget
    locks: LockWatch
    backlog_watch: BacklogWatch
    identity: Identity
    authenticator: Authenticator
    key_cleaner: KeyCleaner
    token_refresher: TokenRefresher
    admission: Admission


class Worker:
    """Starts also while database or broker is away: it takes events as soon as both ids and store are there."""

    def __init__(
        self, parts: Pipeline, background: Mapping[str, BackgroundTask], now_us: NowUs, drain_timeout_seconds: float
    ) -> None:
        """`background` tasks run as long as the worker lives; one that fails starts again."""
        self.parts = parts
        self._background = background
        self._now_us = now_us
        self._drain_timeout_seconds = drain_timeout_seconds
        self._tasks: list[asyncio.Task[None]] = []

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
        self._run(parts.shared_target.run, "agreement")
        parts.identity.use_ids, parts.batcher.give_up = self._use_ids, parts.identity.give_up
        self._run(self._identify, "id-slot")
        self._run(parts.key_cleaner.run, "keys")
        parts.token_refresher.load()
        self._run(parts.token_refresher.run, "tokens")
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
        parts.admission.drain()
        try:
            async with asyncio.timeout(self._drain_timeout_seconds):
                await parts.batcher.drain()
                await parts.dispatcher.drain()
                for settler in self._settlers():
                    await settler.drain()
        except TimeoutError:
            log.warning("the drain took too long; the outbox keeps the rest", extra={"events": self._in_hand()})
        await end(self._tasks)
        parts.token_refresher.count()
        await parts.batcher.close()
        await parts.identity.release()
        await parts.dispatcher.close()
        for settler in self._settlers():
            await settler.close()
        await parts.publisher.close()
        await parts.shared_target.leave()
        await parts.store.close()
        if parts.spool:
            await parts.spool.store.close()

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
        self._run(spool.adoption.run, "spool-adoption")

    def _settlers(self) -> list[Settler]:
        spool = self.parts.spool
        return [self.parts.settler, spool.settler] if spool else [self.parts.settler]

    def _in_hand(self) -> int:
        return self.parts.batcher.queued_events + self.parts.dispatcher.inflight_events

    def _run(self, task: BackgroundTask, name: str) -> None:
        self._tasks.append(supervise(task, name, self.parts.metrics.background_failures.labels(name).inc))

    def _use_ids(self, ids: IdGenerator | None) -> None:
        self.parts.batcher.use_ids(ids)
        self.parts.health.has_slot = ids is not None

    async def _identify(self) -> None:
        await self.parts.shared_target.wait_for_first_look()
        await self.parts.identity.run()

    async def _show_levels(self) -> None:
        while True:
            self.parts.metrics.queued_events.set(self.parts.batcher.queued_events)
            self.parts.metrics.inflight_events.set(self.parts.dispatcher.inflight_events)
            await asyncio.sleep(LEVELS_SECONDS)

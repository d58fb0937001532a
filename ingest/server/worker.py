"""Starts and stops the parts of one worker process in order."""

import asyncio
import gc
import logging
from collections.abc import Mapping

from ingest.clock import NowUs
from ingest.errors import StoreError
from ingest.events.ids import IdGenerator
from ingest.server.pipeline import Pipeline, SpoolParts
from ingest.tasks import BackgroundTask, end, supervise
from ingest.ticks import pause

log = logging.getLogger("ingest.worker")

LEVELS_SECONDS = 1.0
"""Interval at which the gauges of queued and unconfirmed events are set."""
START_SECONDS_MAX = 2.0
"""A worker refuses requests until it has an id slot, so the first requests wait this long for slot and servers."""
START_POLL_SECONDS = 0.02


def spare_collections() -> None:
    """Let the cyclic garbage collector work rarely from now on, and leave the objects that exist now alone.

    It costs 5 % of a worker, and the pipeline makes no cycles. Python 3.14.0 to 3.14.4 collect in increments: the
    second threshold halves the share of old objects in each, and the third one does nothing. 3.14.5 has the generations
    again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class Worker:
    """Can start while the database or broker is down. It accepts events once it has an id slot and a store."""

    def __init__(
        self, pipeline: Pipeline, background: Mapping[str, BackgroundTask], now_us: NowUs, drain_timeout_seconds: float
    ) -> None:
        """`background` tasks run until the worker stops. A task that fails starts again."""
        self.pipeline = pipeline
        self._background = background
        self._now_us = now_us
        self._drain_timeout_seconds = drain_timeout_seconds
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        pipeline = self.pipeline
        for name, task in self._background.items():
            self.run(task, name)
        await pipeline.store.start()
        await pipeline.publisher.start()
        pipeline.batcher.start()
        self.run(pipeline.bodies.sweep, "body-deadlines")
        self.run(pipeline.health.run, "health")
        self.run(pipeline.backlog_watch.run, "backlog")
        self.run(pipeline.relay.run, "relay")
        self.run(pipeline.locks.run, "locks")
        self.run(pipeline.shared_target.run, "agreement")
        pipeline.identity.use_ids, pipeline.batcher.give_up_ids = self._use_ids, pipeline.identity.give_up
        self.run(self._identify, "id-slot")
        self.run(pipeline.key_cleaner.run, "keys")
        self.run(pipeline.audit_cleaner.run, "audit")
        pipeline.token_refresher.load()
        self.run(pipeline.token_refresher.run, "tokens")
        if pipeline.spool:
            await self._start_spool(pipeline.spool)
        self.run(self._show_levels, "levels")
        pipeline.metrics.workers.set(1)
        await self._until_ready()
        pipeline.health.started = True

    async def stop(self) -> None:
        """Finish queued events and confirms within the drain timeout. The outbox keeps the rest."""
        pipeline = self.pipeline
        pipeline.health.draining = True
        pipeline.admission.drain()
        try:
            async with asyncio.timeout(self._drain_timeout_seconds):
                await pipeline.batcher.drain()
                await pipeline.dispatcher.drain()
                for settler in pipeline.settlers:
                    await settler.drain()
        except TimeoutError:
            log.warning(
                "the drain took too long; the outbox keeps the rest", extra={"events": pipeline.unfinished_events}
            )
        await end(self._tasks)
        pipeline.token_refresher.count()
        await pipeline.batcher.close()
        await pipeline.identity.release()
        await pipeline.dispatcher.close()
        for settler in pipeline.settlers:
            await settler.close()
        await pipeline.publisher.close()
        await pipeline.shared_target.leave()
        await pipeline.store.close()
        if pipeline.spool:
            await pipeline.spool.store.close()

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                while self.pipeline.health.report().status != "ready":  # noqa: ASYNC110 - three checks, no common event
                    await asyncio.sleep(START_POLL_SECONDS)
        except TimeoutError:
            log.warning("started without its servers", extra={"checks": self.pipeline.health.report().checks})

    async def _start_spool(self, spool: SpoolParts) -> None:
        try:
            await spool.store.start()
        except StoreError as exc:
            log.error("the spool cannot be used; each batch tries it again", extra={"reason": str(exc)})
        self.run(spool.relay.run, "spool-relay")
        self.run(spool.drainer.run, "drainer")
        self.run(spool.adoption.run, "spool-adoption")
        self.run(spool.watch.run, "spool-files")

    def run(self, task: BackgroundTask, name: str) -> None:
        """Run a task until the worker stops. After a failure it starts again."""
        self._tasks.append(supervise(task, name, self.pipeline.metrics.background_failures.labels(name).inc))

    def _use_ids(self, ids: IdGenerator | None) -> None:
        self.pipeline.batcher.use_ids(ids)
        self.pipeline.health.has_slot = ids is not None

    async def _identify(self) -> None:
        await self.pipeline.shared_target.wait_for_first_look()
        await self.pipeline.identity.run()

    async def _show_levels(self) -> None:
        while True:
            self.pipeline.metrics.queued_events.set(self.pipeline.batcher.queued_events)
            self.pipeline.metrics.inflight_events.set(self.pipeline.dispatcher.inflight_events)
            await pause(LEVELS_SECONDS)

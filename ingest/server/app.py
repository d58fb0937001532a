"""The composition root: settings in, the BlackSheep application of one worker out."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from blacksheep import Application, Router
from prometheus_client import CollectorRegistry

from ingest.auth.rate_limit import SharedRateLimits
from ingest.clock import unix_us
from ingest.files.locks import WorkerIndex, take_worker_index
from ingest.http import batch_handler, event_handler
from ingest.http.asgi import AsgiAdapter
from ingest.http.batch_handler import BatchHandler, BatchLimits
from ingest.http.event_handler import EventHandler
from ingest.http.routes import add_probes, add_routes
from ingest.http.rsgi import Handler, HttpProtocol, Scope
from ingest.server.admin_listener import Admin
from ingest.server.draining import Sigterm, closing
from ingest.server.signals import hold_back, let_through
from ingest.server.watchdog import beat
from ingest.server.wiring import (
    build_pipeline,
    make_publisher,
    make_retention,
    make_shared_target,
    make_store,
    make_tracing,
)
from ingest.server.worker import Pipeline, Worker
from ingest.settings import Settings, read_settings
from ingest.sources.base import Source
from ingest.sources.freeswitch import FreeSwitch
from ingest.sources.handler import PREFIX, SourceHandler
from ingest.sources.jambonz import Jambonz
from ingest.sources.plain import Plain
from ingest.sources.twilio import Twilio
from ingest.status.collector import StatusSource
from ingest.status.health import Health
from ingest.status.snapshot import Limits
from ingest.tasks import BackgroundTask
from ingest.telemetry import granian
from ingest.telemetry.durable_counters import DurableCounters
from ingest.telemetry.log_level import LevelWatch
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.multiprocess import MetricFiles
from ingest.telemetry.runtime import RuntimeMetrics

INGEST_LOG = logging.getLogger("ingest")
SOURCES: Sequence[Source] = (FreeSwitch(), Jambonz(), Twilio(), *map(Plain, ("kamailio", "opensips", "asterisk")))


class IngestApplication(Application):
    """BlackSheep for all paths but the hot ones, which are answered before it sees them; served through RSGI."""

    def __init__(
        self, lanes: Mapping[str, Handler], inbound: Handler, health: Health, drain_delay_seconds: float
    ) -> None:
        super().__init__()
        self._lanes = lanes
        self._inbound = inbound
        self._pages = AsgiAdapter(self)
        self._other: Handler = self._elsewhere
        self._health = health
        self._drain_delay_seconds = drain_delay_seconds

    def __rsgi__(self, scope: Scope, protocol: HttpProtocol) -> Awaitable[None]:
        """Not async itself: the lane's coroutine is the only one that a hot request pays."""
        return self._lanes.get(scope.path, self._other)(scope, protocol)

    async def _elsewhere(self, scope: Scope, protocol: HttpProtocol) -> None:
        """Paths that are not hot, or not one path each."""
        handler = self._inbound if scope.path.startswith(PREFIX) else self._pages
        await handler(scope, protocol)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before Granian takes requests."""
        sigterm = Sigterm(loop, self._drain_delay_seconds, self.drain)
        let_through()
        loop.run_until_complete(self.start())  # type: ignore[no-untyped-call] # BlackSheep has no types here
        if sigterm.received:
            self.__rsgi_del__(loop)
            raise SystemExit
        sigterm.serving()

    def drain(self) -> None:
        """Send clients elsewhere, but go on to answer them."""
        self._health.draining = True
        self._lanes = {path: closing(handler) for path, handler in self._lanes.items()}
        self._other = closing(self._other)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """After it has answered the last one."""
        loop.run_until_complete(self.stop())  # type: ignore[no-untyped-call] # see above


def create() -> IngestApplication:
    """Granian's factory: the application of this worker process, by the environment's settings."""
    logging.captureWarnings(capture=True)  # drivers' and Python's own are lines of the log, too
    settings = read_settings()
    worker_index = take_worker_index(settings.run_dir)
    files = metric_files(settings)
    succeeds = files.use_worker_index(worker_index.number)
    metrics = Metrics(CollectorRegistry(), files.pending_commits_file(worker_index.number))
    metrics.worker_restarts.inc(succeeds)
    application = build(settings, worker_index, metrics, files)
    hold_back()  # until `__rsgi_init__`, which Granian calls next
    return application


def restore(files: MetricFiles, durable_counters: DurableCounters) -> bool:
    """Make this worker's metric files and notes anew if somebody deleted them; True if so. Raises `OSError`."""
    gone = files.restore()
    if gone:
        durable_counters.reopen()
    return gone


def metric_files(settings: Settings) -> MetricFiles:
    return MetricFiles(settings.run_dir / "metrics")


def beats_folder(settings: Settings) -> Path:
    folder = settings.run_dir / "beats"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build(settings: Settings, worker_index: WorkerIndex, metrics: Metrics, files: MetricFiles) -> IngestApplication:
    """Wire one worker's parts; nothing is connected before the application starts."""
    tracing = make_tracing(settings)
    store = make_store(settings, metrics.database)
    shared_target = make_shared_target(settings, store)
    publisher = make_publisher(settings, metrics.broker, shared_target.problem)
    parts = build_pipeline(settings, store, publisher, metrics, worker_index.number, tracing, shared_target)
    parts.locks.add(lambda: worker_index.lock)  # it holds the seat, too, as long as the process lives
    parts.locks.add_files(settings.run_dir / "metrics", partial(restore, files, metrics.durable_counters))
    limits = Limits(settings.workers, settings.spool_bytes_max, settings.queue_events_max)
    source = StatusSource(settings.run_dir / "status", worker_index.number, files, limits, parts.health.report)
    worker = Worker(
        parts, _background(settings, worker_index.number, parts, source), unix_us, settings.drain_timeout_seconds
    )
    lanes, inbound = make_lanes(settings, parts), make_source_handler(settings, parts)
    if tracing:
        lanes, inbound = {path: tracing.handler(handler) for path, handler in lanes.items()}, tracing.handler(inbound)
    application = IngestApplication(lanes, inbound, parts.health, settings.drain_delay_seconds)
    count = metrics.background_failures.labels("admin").inc
    admin = _add_pages(application, settings, parts.health, files, source, count)

    async def start(_: Application) -> None:
        await worker.start()
        if admin:
            await admin.start()

    async def stop(_: Application) -> None:
        await worker.stop()
        if admin:
            await admin.stop()
        if tracing:
            await tracing.stop()

    application.on_start += start
    application.on_stop += stop
    return application


def _background(
    settings: Settings, worker_index: int, parts: Pipeline, source: StatusSource
) -> Mapping[str, BackgroundTask]:
    """What a worker does beside its events."""
    tasks: dict[str, BackgroundTask] = {
        "beat": partial(beat, beats_folder(settings), time.monotonic),
        "runtime": runtime_metrics(settings, parts.metrics.registry).run,
        "ledger": partial(parts.metrics.durable_counters.recover, parts.store, 2 * settings.commit_timeout_seconds),
        "rates": SharedRateLimits(settings.run_dir / "rates", worker_index, parts.authenticator.buckets).run,
        "status": source.run,
        "log-level": LevelWatch(settings.run_dir, settings.log_level, unix_us, INGEST_LOG.setLevel).run,
    }
    if retention := make_retention(settings, parts.metrics):
        tasks["retention"] = retention.run
    return tasks


def make_lanes(settings: Settings, parts: Pipeline) -> dict[str, Handler]:
    """The hot lanes by their paths."""
    limits = BatchLimits(settings.batch_body_bytes_max, settings.batch_items_max, settings.body_bytes_max)
    lanes: dict[str, Handler] = {
        event_handler.PATH: EventHandler(parts.admission, parts.bodies, parts.batcher, settings.body_bytes_max),
        batch_handler.PATH: BatchHandler(parts.admission, parts.bodies, parts.batcher, limits),
    }
    # Laravel does not mind a slash at the end, so some clients may send one.
    return lanes | {f"{path}/": handler for path, handler in lanes.items()}


def runtime_metrics(settings: Settings, registry: CollectorRegistry) -> RuntimeMetrics:
    limits = {
        "ingest_queued_events_max": settings.queue_events_max,
        "ingest_publish_inflight_events_max": settings.publish_inflight_events_max,
        "ingest_spool_bytes_max": settings.spool_bytes_max // settings.workers,
    }
    return RuntimeMetrics(registry, settings.data_dir, settings.workers, limits)


def make_source_handler(settings: Settings, parts: Pipeline) -> Handler:
    return SourceHandler(
        parts.admission,
        parts.bodies,
        parts.batcher,
        SOURCES,
        dict(secret.split("=", 1) for secret in settings.client_secrets),
        settings.public_url,
        settings.body_bytes_max,
    )


def exposition(files: MetricFiles, granian_port: int) -> bytes:
    """What `/metrics` shows: all workers' metrics, and those of the server around them."""
    return files.exposition() + (granian.read(granian_port) if granian_port else b"")


def _add_pages(
    application: Application,
    settings: Settings,
    health: Health,
    files: MetricFiles,
    source: StatusSource,
    count: Callable[[], None],
) -> Admin | None:
    """Where events come in, or on an address of their own; then there is only what a balancer asks on the former."""
    expose = partial(exposition, files, settings.server_metrics_port)
    if not settings.admin_port:
        add_routes(application, health, expose, source.status)
        return None
    add_probes(application, health)
    pages = Application(router=Router())  # without one of their own BlackSheep's applications share theirs
    add_routes(pages, health, expose, source.status)
    return Admin(pages, settings, count)

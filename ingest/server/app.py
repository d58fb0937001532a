"""The composition root: makes the application of one worker from the settings."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from blacksheep import Application, Router
from prometheus_client import CollectorRegistry

from ingest.auth.rate_limit import SharedRateLimits
from ingest.clock import unix_us
from ingest.files.locks import WorkerIndex, take_worker_index
from ingest.http.openapi import document
from ingest.http.reading.api import ReadingApi
from ingest.http.routes import add_probes, add_routes
from ingest.http.rsgi import Handler
from ingest.server.application import IngestApplication
from ingest.server.factories.broker import make_publisher, make_shared_target
from ingest.server.factories.handlers import make_direct_listener, make_handlers, make_reading, make_sources
from ingest.server.factories.store import make_retention, make_store
from ingest.server.listeners.admin import Admin
from ingest.server.listeners.urls import events_url_of
from ingest.server.pipeline import Pipeline
from ingest.server.signals import hold_back
from ingest.server.watchdog import beat
from ingest.server.wiring import build_pipeline, make_tracing
from ingest.server.worker import Worker, spare_collections
from ingest.settings import Settings, read_settings
from ingest.single_flight import SingleFlight
from ingest.status.collector import StatusSource
from ingest.status.health import Health
from ingest.status.snapshot import Limits
from ingest.tasks import BackgroundTask
from ingest.telemetry import granian
from ingest.telemetry.exposition.shared import SharedExposition
from ingest.telemetry.log_level import LevelWatch
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.multiprocess import MetricFiles
from ingest.telemetry.runtime import RuntimeMetrics

INGEST_LOG = logging.getLogger("ingest")


def create() -> IngestApplication:
    """Make the application of this worker process from the environment's settings. Granian calls this."""
    logging.captureWarnings(capture=True)  # the log includes warnings of drivers and of Python
    settings = read_settings()
    worker_index = take_worker_index(settings.run_dir)
    files = metric_files(settings)
    died = files.use_worker_index(worker_index.number)
    metrics = Metrics(CollectorRegistry(), files.pending_commits_file(worker_index.number))
    metrics.worker_restarts.inc(died)
    files.damaged.count_with(metrics.background_failures.labels("metrics").inc)
    application = build(settings, worker_index, metrics, files)
    hold_back()  # until `__rsgi_init__`, which Granian calls next
    return application


def restore(files: MetricFiles, metrics: Metrics) -> bool:
    """Restore this worker's metric files if they were deleted. Return True if so. Raises `OSError`."""

    def use() -> None:
        metrics.background_failures.labels("locks").inc(0)
        metrics.durable_counters.reopen()

    return files.restore(use)


def metric_files(settings: Settings) -> MetricFiles:
    return MetricFiles(settings.run_dir / "metrics")


def beats_folder(settings: Settings) -> Path:
    folder = settings.run_dir / "beats"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build(settings: Settings, worker_index: WorkerIndex, metrics: Metrics, files: MetricFiles) -> IngestApplication:
    """Connect the parts of one worker. Nothing does I/O before the application starts."""
    tracing = make_tracing(settings)
    store = make_store(settings, metrics.database)
    shared_target = make_shared_target(settings, store)
    publisher = make_publisher(settings, metrics.broker, shared_target.problem)
    pipeline = build_pipeline(settings, store, publisher, metrics, worker_index.number, tracing, shared_target)
    pipeline.locks.add(lambda: worker_index.lock)  # the reference keeps the index until the process ends
    pipeline.locks.add_files(settings.run_dir / "metrics", partial(restore, files, metrics))
    limits = Limits(settings.workers, settings.spool_bytes_max, settings.queue_events_max)
    status = StatusSource(
        settings.run_dir / "status",
        worker_index.number,
        files,
        limits,
        pipeline.health.report_without_spooled,
        pipeline.admission.refused,
    )
    background = _background(settings, worker_index.number, pipeline, status)
    worker = Worker(pipeline, background, unix_us, settings.drain_timeout_seconds)
    handlers, sources = make_handlers(settings, pipeline), make_sources(settings, pipeline)
    handle_source: Handler = sources
    if tracing:
        handlers = {path: tracing.handler(handler) for path, handler in handlers.items()}
        handle_source = tracing.handler(sources, sources.sources.keys())
    application = IngestApplication(handlers, handle_source, pipeline.health, settings.drain_delay_seconds)
    direct = make_direct_listener(settings, pipeline, application, None if tracing else sources)
    application.direct = direct
    count = metrics.background_failures.labels("admin").inc
    described = document(tuple(sources.sources), events_url_of(settings))
    reading = make_reading(pipeline, status)
    admin = _add_pages(application, settings, pipeline.health, files, status, described, reading, count)

    async def start(_: Application) -> None:
        await worker.start()
        spare_collections()
        if direct:
            worker.run(direct.sweep, "listener")
        if admin:
            await admin.start()

    async def stop(_: Application) -> None:
        if direct:
            await direct.stop(settings.drain_timeout_seconds)
        await worker.stop()
        if admin:
            await admin.stop()
        if tracing:
            await tracing.stop()
        files.leave()

    application.on_start += start
    application.on_stop += stop
    return application


def _background(
    settings: Settings, worker_index: int, pipeline: Pipeline, status: StatusSource
) -> Mapping[str, BackgroundTask]:
    """Return the tasks that a worker runs beside the pipeline, by name."""
    metrics, recover_seconds = pipeline.metrics, 2 * settings.commit_timeout_seconds
    tasks: dict[str, BackgroundTask] = {
        "beat": partial(beat, beats_folder(settings), time.monotonic, lambda: pipeline.health.started),
        "runtime": runtime_metrics(settings, metrics.registry).run,
        "ledger": partial(metrics.durable_counters.recover, pipeline.store.count_rows, recover_seconds),
        "rates": SharedRateLimits(settings.run_dir / "rates", worker_index, pipeline.authenticator.buckets).run,
        "status": status.run,
        "log-level": LevelWatch(settings.run_dir, settings.log_level, unix_us, INGEST_LOG.setLevel).run,
    }
    if retention := make_retention(settings, metrics):
        tasks["retention"] = retention.run
    return tasks


def runtime_metrics(settings: Settings, registry: CollectorRegistry) -> RuntimeMetrics:
    limits = {
        "ingest_queued_events_max": settings.queue_events_max,
        "ingest_publish_inflight_events_max": settings.publish_inflight_events_max,
        "ingest_spool_bytes_max": settings.spool_bytes_max // settings.workers,
    }
    return RuntimeMetrics(registry, settings.data_dir, settings.workers, limits)


def make_exposition(settings: Settings, files: MetricFiles) -> SingleFlight[bytes]:
    """Return the content of `/metrics`: the metrics of all workers and of Granian."""
    granian_port = settings.server_metrics_port

    def make() -> bytes:
        return files.exposition() + (granian.read(granian_port) if granian_port else b"")

    shared = SharedExposition(settings.run_dir / "exposition", make)
    return SingleFlight(partial(asyncio.to_thread, shared.read), 0.0, time.monotonic)


def _add_pages(
    application: Application,
    settings: Settings,
    health: Health,
    files: MetricFiles,
    status: StatusSource,
    described: Mapping[str, Any],
    reading: ReadingApi,
    count: Callable[[], None],
) -> Admin | None:
    """Add the pages to the application, or only the probes if the pages have an admin address."""
    expose = make_exposition(settings, files).result
    if not settings.admin_port:
        add_routes(application, health, expose, status.status, described, reading)
        return None
    add_probes(application, health)
    pages = Application(router=Router())  # by default all BlackSheep applications share one router
    add_routes(pages, health, expose, status.status, described, reading)
    return Admin(pages, settings, count)

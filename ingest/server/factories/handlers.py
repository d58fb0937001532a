"""Makes the handlers of events from the settings and the pipeline."""

from ingest.audit.trail import AuditTrail
from ingest.clock import unix_us
from ingest.events.routing_key import RoutingKey
from ingest.http import batch_handler, event_handler
from ingest.http.batch_handler import BatchHandler, BatchLimits
from ingest.http.direct.events import DirectEvents, Sources
from ingest.http.direct.listener import DirectListener, ListenerLimits
from ingest.http.event_handler import EventHandler
from ingest.http.reading.api import ReadingApi
from ingest.http.rsgi import Handler
from ingest.server.application import IngestApplication
from ingest.server.pipeline import Pipeline
from ingest.settings import Settings
from ingest.sources.handler import SourceHandler
from ingest.sources.making import kept_forms
from ingest.sources.making import make_sources as make_sources_by_name
from ingest.status.collector import StatusSource


def make_direct_listener(
    settings: Settings, pipeline: Pipeline, application: IngestApplication, sources: Sources | None
) -> DirectListener | None:
    """Return None if Granian listens. Events have no task of their own, unless `sources` is None: tracing needs one."""
    if not settings.listens_directly:
        return None
    handler = make_event_handler(settings, pipeline)
    events = DirectEvents(handler, pipeline.admission, settings.body_bytes_max, sources)
    bounds = ListenerLimits(settings.connections_max, settings.body_timeout_seconds, fast=sources is not None)
    return DirectListener(application.__rsgi__, events, bounds, pipeline.metrics)


def make_event_handler(settings: Settings, pipeline: Pipeline) -> EventHandler:
    return EventHandler(pipeline.admission, pipeline.bodies, pipeline.batcher, settings.body_bytes_max, settings.zone)


def make_handlers(settings: Settings, pipeline: Pipeline) -> dict[str, Handler]:
    """Return the handlers of events and batches by path."""
    admission, bodies, batcher = pipeline.admission, pipeline.bodies, pipeline.batcher
    limits = BatchLimits(
        settings.batch_body_bytes_max, settings.batch_items_max, settings.body_bytes_max, settings.zone
    )
    handlers: dict[str, Handler] = {
        event_handler.PATH: make_event_handler(settings, pipeline),
        batch_handler.PATH: BatchHandler(admission, bodies, batcher, limits),
    }
    # Laravel accepts a slash at the end of a path, so some clients may send one.
    return handlers | {f"{path}/": handler for path, handler in handlers.items()}


def make_reading(pipeline: Pipeline, status: StatusSource) -> ReadingApi:
    """Return the API of stored events and dead letters."""
    trail = AuditTrail(pipeline.store, unix_us)
    return ReadingApi(pipeline.readers, pipeline.authenticator, pipeline.store, trail, status.refused)


def make_sources(settings: Settings, pipeline: Pipeline) -> SourceHandler:
    kept = kept_forms(settings)
    sources = make_sources_by_name(settings, str(kept) if kept.is_dir() else settings.client_forms)
    pipeline.metrics.begin_adapted(sources)
    return SourceHandler(
        pipeline.admission,
        pipeline.bodies,
        pipeline.batcher,
        sources,
        settings.public_url,
        settings.body_bytes_max,
        pipeline.metrics.count_adapted,
        accepted=pipeline.metrics.callers.of_sources,
        names_client=bool(settings.exchange) and "client" in RoutingKey.parse(settings.routing_key).names,
    )

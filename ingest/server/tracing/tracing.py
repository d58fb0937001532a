"""OpenTelemetry spans for receive, commit and publish, if `INGEST_TRACING` turns them on.

The span of a request continues the client's trace, and the message carries the span's context to the consumer. A commit
or a publish belongs to many requests. It has its own span with links to theirs, if one of them is sampled. If tracing
is off, nothing here is imported and nothing is wrapped. OpenTelemetry's own variables choose destination and sampling:
OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER and others.
"""

import asyncio
import logging
from collections.abc import Set

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ingest import __version__
from ingest.broker.base import Publisher
from ingest.events.headers import MessageHeaders
from ingest.http.rsgi import Handler, Headers
from ingest.http.trace_context import propagate_trace_context
from ingest.pipeline.commit_target import BatchStore
from ingest.server.tracing.batches import LINKS_MAX, TracedPublisher, TracedStore
from ingest.server.tracing.handler import TracedHandler
from ingest.server.tracing.masking import MaskingExporter

log = logging.getLogger("ingest.tracing")

SERVICE = "call-events-ingest"
SHUTDOWN_SECONDS_MAX = 5.0
"""Time to export the last spans. A collector that is down must not delay the stop."""

_propagator = TraceContextTextMapPropagator()


class Tracing:
    """The spans of one worker. It must be made after the fork, because its exporter has a thread."""

    def __init__(self, queue: str) -> None:
        resource = Resource.create({SERVICE_NAME: SERVICE, SERVICE_VERSION: __version__})
        self._provider = TracerProvider(resource=resource, span_limits=SpanLimits(max_links=LINKS_MAX))
        # `TracedHandler` asks the sampler before it makes a span, because making a span is the expensive part.
        self._sampler, self._provider.sampler = self._provider.sampler, ALWAYS_ON
        self._provider.add_span_processor(BatchSpanProcessor(MaskingExporter(OTLPSpanExporter())))
        self._tracer = self._provider.get_tracer(SERVICE, __version__)
        self._queue = queue

    def handler(self, handler: Handler, sources: Set[str] = frozenset()) -> Handler:
        """`sources` are the names of the sources that the handler knows."""
        return TracedHandler(handler, self._tracer, self._sampler, sources)

    def store(self, store: BatchStore) -> BatchStore:
        return TracedStore(store, self._tracer)

    def publisher(self, publisher: Publisher) -> Publisher:
        return TracedPublisher(publisher, self._tracer, self._queue)

    def propagate_trace_context(self, headers: Headers, of_token: MessageHeaders | None) -> MessageHeaders | None:
        """Return message headers with the context of the request's span, or of the request if it has no span."""
        if not trace.get_current_span().is_recording():
            return propagate_trace_context(headers, of_token)
        message_headers = dict(of_token or {})
        _propagator.inject(message_headers)
        return message_headers

    async def stop(self) -> None:
        """Export the remaining spans."""
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS_MAX):
                await asyncio.to_thread(self._provider.shutdown)
        except TimeoutError:
            log.warning("the last spans could not be exported in time", extra={"seconds": SHUTDOWN_SECONDS_MAX})

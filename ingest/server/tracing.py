"""Spans of OpenTelemetry, where `INGEST_TRACING` asks for them: receive, commit and publish.

A request's span continues its client's trace, and its own context goes on to the message, so that a consumer's span
follows it. Commits and publishes are of many requests: spans of their own, linked to the requests' spans, and made
where one of these is sampled. Nothing of this is imported, and nothing wrapped, while it is off. Where spans go, and
which, OpenTelemetry's own variables say: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER and others.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from ingest import __version__
from ingest.broker.base import OrderedPublisher, Priority, Publisher, Refused
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.headers import TRACEPARENT, MessageHeaders
from ingest.http.rsgi import Handler, Headers, HttpProtocol, Scope
from ingest.http.trace_context import propagate_trace_context
from ingest.pipeline.commit_target import BatchStore
from ingest.sources.handler import PREFIX

log = logging.getLogger("ingest.tracing")

SERVICE = "call-events-ingest"
LINKS_MAX = 1000
"""Of a span; further events of a batch are in it without a link."""
SHUTDOWN_SECONDS_MAX = 5.0
"""For the last spans to be exported; a collector that is away must not hold up the end."""

_propagator = TraceContextTextMapPropagator()
_new_ids = RandomIdGenerator()


class Tracing:
    """The spans of one worker; made after the fork, as its exporter has a thread."""

    def __init__(self, queue: str) -> None:
        resource = Resource.create({SERVICE_NAME: SERVICE, SERVICE_VERSION: __version__})
        self._provider = TracerProvider(resource=resource, span_limits=SpanLimits(max_links=LINKS_MAX))
        # Whether a request is traced is decided before its span is made, which costs more than all else of it.
        self._sampler, self._provider.sampler = self._provider.sampler, ALWAYS_ON
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SERVICE, __version__)
        self._queue = queue

    def handler(self, handler: Handler) -> Handler:
        """The handler, with a span around each of its requests."""
        return TracedHandler(handler, self._tracer, self._sampler)

    def store(self, store: BatchStore) -> BatchStore:
        return TracedStore(store, self._tracer)

    def publisher(self, publisher: Publisher) -> Publisher:
        return TracedPublisher(publisher, self._tracer, self._queue)

    def propagate_trace_context(self, headers: Headers, of_token: MessageHeaders | None) -> MessageHeaders | None:
        """In place of the request's own context its span's, if it has one; see `ingest.events.headers`."""
        if not trace.get_current_span().is_recording():
            return propagate_trace_context(headers, of_token)
        carried = dict(of_token or {})
        _propagator.inject(carried)
        return carried

    async def stop(self) -> None:
        """Export what is left."""
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS_MAX):
                await asyncio.to_thread(self._provider.shutdown)
        except TimeoutError:
            log.warning("the last spans could not be exported in time", extra={"seconds": SHUTDOWN_SECONDS_MAX})


class TracedHandler:
    def __init__(self, handler: Handler, tracer: trace.Tracer, sampler: Sampler) -> None:
        self._handler = handler
        self._tracer = tracer
        self._sampler = sampler

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        headers = scope.headers  # each access copies them
        context = _propagator.extract(dict(headers.items())) if TRACEPARENT in headers else Context()
        route = _route_of(scope.path)
        if self._is_sampled(context, route):
            await self._traced(scope, protocol, context, route)
        else:
            await self._handler(scope, protocol)

    def _is_sampled(self, context: Context, route: str) -> bool:
        parent = trace.get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else _new_ids.generate_trace_id()
        decision = self._sampler.should_sample(context, trace_id, route, SpanKind.SERVER).decision
        return decision is Decision.RECORD_AND_SAMPLE

    async def _traced(self, scope: Scope, protocol: HttpProtocol, context: Context, route: str) -> None:
        attributes = {"http.request.method": scope.method, "http.route": route, "url.scheme": scope.scheme}
        with self._tracer.start_as_current_span(
            f"{scope.method} {route}", context, SpanKind.SERVER, attributes
        ) as span:
            await self._handler(scope, WatchedProtocol(protocol, span))


def _route_of(path: str) -> str:
    """Without what a client's path may hold beside its name: a token."""
    if path.startswith(PREFIX):
        return f"{PREFIX}{path.removeprefix(PREFIX).partition('/')[0]}/{{token}}"
    return path.rstrip("/")


class WatchedProtocol:
    """Tells the span how the request was answered. Hot lanes answer at once, and in one piece."""

    def __init__(self, protocol: HttpProtocol, span: trace.Span) -> None:
        self._span = span
        self._protocol = protocol
        self.client_disconnect = protocol.client_disconnect
        self.response_stream = protocol.response_stream

    def __call__(self) -> Awaitable[bytes]:
        return self._protocol()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._protocol.__aiter__()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._protocol.response_bytes(status, headers, body)


class TracedStore:
    def __init__(self, store: BatchStore, tracer: trace.Tracer) -> None:
        self._store = store
        self._tracer = tracer

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        attributes: Attributes = {"db.collection.name": "call_event_logs", "db.operation.batch.size": len(batch)}
        with _span_of(self._tracer, "commit call_event_logs", SpanKind.CLIENT, attributes, batch):
            return await self._store.commit(batch, lease_seconds=lease_seconds, settled=settled)


class TracedPublisher:
    """See `ingest.broker.base.Publisher`."""

    def __init__(self, publisher: Publisher, tracer: trace.Tracer, queue: str) -> None:
        self._publisher = publisher
        self._tracer = tracer
        self._attributes = {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "send",
            "messaging.destination.name": queue,
        }
        self.blocked = publisher.blocked
        self.start = publisher.start
        self.close = publisher.close

    @property
    def ready(self) -> bool:
        return self._publisher.ready

    @property
    def problem(self) -> str | None:
        return self._publisher.problem

    async def publish(self, batch: Batch, priority: Priority = "live") -> None:
        attributes: Attributes = {
            **self._attributes,
            "messaging.batch.message_count": len(batch),
            "ingest.lane": priority,
        }
        name = f"send {self._attributes['messaging.destination.name']}"
        with _span_of(self._tracer, name, SpanKind.PRODUCER, attributes, batch):
            await self._publisher.publish(batch, priority)

    async def republish_missing(self, batches: Sequence[Batch], priority: Priority = "live") -> Sequence[Refused]:
        """Of what was left behind there is no span."""
        return await cast(OrderedPublisher, self._publisher).republish_missing(batches, priority)

    async def newest_ids_of(self, batches: Sequence[Batch]) -> Mapping[int, int]:
        return await cast(OrderedPublisher, self._publisher).newest_ids_of(batches)

    async def republish_discarded(self, batches: Sequence[Batch], newest: Mapping[int, int]) -> Sequence[Refused]:
        return await cast(OrderedPublisher, self._publisher).republish_discarded(batches, newest)


def _span_of(
    tracer: trace.Tracer, name: str, kind: SpanKind, attributes: Attributes, batch: Batch
) -> AbstractContextManager[object]:
    """A root span, linked to the batch's requests; none if none of them is sampled."""
    links = links_of(batch.events)
    return tracer.start_as_current_span(name, Context(), kind, attributes, links) if links else nullcontext()


def links_of(events: Iterable[Event]) -> Sequence[Link]:
    """To the sampled spans of the events' requests, each once, in their order."""
    parents = dict.fromkeys(
        event.headers[TRACEPARENT] for event in events if event.headers and TRACEPARENT in event.headers
    )
    contexts = (trace.get_current_span(_propagator.extract({TRACEPARENT: one})).get_span_context() for one in parents)
    return [Link(context) for context in contexts if context.is_valid and context.trace_flags.sampled][:LINKS_MAX]

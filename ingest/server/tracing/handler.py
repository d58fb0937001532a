"""A span around each request."""

from collections.abc import AsyncIterator, Awaitable, Set

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ingest.events.headers import TRACEPARENT
from ingest.http.rsgi import Handler, HttpProtocol, Scope
from ingest.sources.handler import PREFIX

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
OTHER_METHOD = "_OTHER"
"""OpenTelemetry's name for a method that is none: its text comes from the client."""

_propagator = TraceContextTextMapPropagator()
_new_ids = RandomIdGenerator()


class TracedHandler:
    def __init__(self, handler: Handler, tracer: trace.Tracer, sampler: Sampler, sources: Set[str]) -> None:
        """`sources` are the names of the known sources."""
        self._handler = handler
        self._sources = sources
        self._tracer = tracer
        self._sampler = sampler

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        headers = scope.headers  # each access copies them
        context = _propagator.extract(dict(headers.items())) if TRACEPARENT in headers else Context()
        route = self._route_of(scope.path)
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
        method = scope.method if scope.method in METHODS else OTHER_METHOD
        attributes = {"http.request.method": method, "http.route": route, "url.scheme": scope.scheme}
        name = f"{'HTTP' if method == OTHER_METHOD else method} {route}"
        with self._tracer.start_as_current_span(name, context, SpanKind.SERVER, attributes) as span:
            await self._handler(scope, WatchedProtocol(protocol, span))

    def _route_of(self, path: str) -> str:
        """Hide what the client wrote: a token, or anything in place of a source's name."""
        if not path.startswith(PREFIX):
            return path.rstrip("/")
        source = path.removeprefix(PREFIX).partition("/")[0]
        return f"{PREFIX}{source if source in self._sources else '{client}'}/{{token}}"


class WatchedProtocol:
    """Records the response's status in the span. Event handlers send each response in one piece."""

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

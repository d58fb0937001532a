"""A span around each request."""

from collections.abc import AsyncIterator, Awaitable

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ingest.events.headers import TRACEPARENT
from ingest.http.rsgi import Handler, HttpProtocol, Scope
from ingest.sources.handler import PREFIX

_propagator = TraceContextTextMapPropagator()
_new_ids = RandomIdGenerator()


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
    """Hide the token, which the path of a source may contain."""
    if path.startswith(PREFIX):
        return f"{PREFIX}{path.removeprefix(PREFIX).partition('/')[0]}/{{token}}"
    return path.rstrip("/")


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

"""Spans around commits and publishes, linked to the spans of the requests in the batch."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from ingest.broker.base import OrderedPublisher, Priority, Publisher, Refused
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.headers import TRACEPARENT
from ingest.pipeline.commit_target import BatchStore

LINKS_MAX = 1000
"""Links of a span. Further events of a batch have no link."""

_propagator = TraceContextTextMapPropagator()


class TracedStore:
    def __init__(self, store: BatchStore, tracer: trace.Tracer) -> None:
        self._store = store
        self._tracer = tracer

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        attributes: Attributes = {"db.collection.name": "call_event_logs", "db.operation.batch.size": len(batch)}
        with _span_of(self._tracer, "commit call_event_logs", SpanKind.CLIENT, attributes, batch):
            return await self._store.commit(batch, lease_seconds=lease_seconds, settled=settled)

    async def probe(self) -> None:
        await self._store.probe()


class TracedPublisher:
    """An `ingest.broker.base.Publisher`. It also passes on the call of an `OrderedPublisher`."""

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

    async def publish_once(self, batches: Sequence[Batch]) -> Sequence[Refused]:
        """Make no span: the batches are late, or from a worker that died."""
        return await cast(OrderedPublisher, self._publisher).publish_once(batches)


def _span_of(
    tracer: trace.Tracer, name: str, kind: SpanKind, attributes: Attributes, batch: Batch
) -> AbstractContextManager[object]:
    """Start a root span with links to the batch's requests, but no span if no request is sampled."""
    links = links_of(batch.events)
    return tracer.start_as_current_span(name, Context(), kind, attributes, links) if links else nullcontext()


def links_of(events: Iterable[Event]) -> Sequence[Link]:
    """Return links to the sampled spans of the events' requests, each once, in order."""
    parents = dict.fromkeys(
        event.headers[TRACEPARENT] for event in events if event.headers and TRACEPARENT in event.headers
    )
    contexts = (trace.get_current_span(_propagator.extract({TRACEPARENT: one})).get_span_context() for one in parents)
    return [Link(context) for context in contexts if context.is_valid and context.trace_flags.sampled][:LINKS_MAX]

"""`POST /api/call-events/batch`: a JSON array of events, or NDJSON. Each item is handled like a single event."""

import asyncio
from collections import deque
from datetime import tzinfo

import msgspec

from ingest.errors import BodyTooLarge, IngestError, Overloaded
from ingest.events.event import Event, decode
from ingest.events.headers import MessageHeaders
from ingest.http.admission import Admission
from ingest.http.batch_body import BatchBody, split
from ingest.http.batch_response import is_service_error, response_of
from ingest.http.body_reader import BodyReader
from ingest.http.rsgi import HttpProtocol, Scope
from ingest.pipeline.batcher import Batcher
from ingest.pipeline.outcomes import Failures, failure_of

PATH = "/api/call-events/batch"

TURN_BYTES_MAX = 131_072
"""A batch yields to other requests after this many bytes, about 5 ms of work."""
ITEM_OVERHEAD_BYTES = 300
"""The fixed cost of an item, expressed in bytes."""
WINDOW_ITEMS = 2_000
WINDOW_BYTES = 8 << 20
"""One batch queues at most this much at a time: enough for several commits, so that it keeps all writers busy."""

Done = asyncio.Future[Failures | None]
Submitted = tuple[Event, Done] | IngestError
"""An event and the future of its commit, or the reason why it was not queued."""


class BatchLimits(msgspec.Struct, frozen=True):
    body_bytes_max: int
    items_max: int
    item_bytes_max: int
    zone: tzinfo | None = None
    """The zone of timestamps without an offset."""


class Window:
    """The queued items of a batch whose outcome is unknown. It is bounded because each item is in memory twice."""

    def __init__(self, outcomes: list[IngestError | None]) -> None:
        """The window writes the error of a failed item into `outcomes`, at the item's index."""
        self._outcomes = outcomes
        self._waiting: deque[tuple[int, Event, Done]] = deque()
        self._bytes = 0

    async def add(self, index: int, event: Event, done: Done) -> None:
        self._waiting.append((index, event, done))
        self._bytes += len(event.payload)
        while len(self._waiting) > WINDOW_ITEMS or self._bytes > WINDOW_BYTES:
            await self.shrink()

    async def drain(self) -> None:
        while await self.shrink():
            pass

    async def shrink(self) -> bool:
        """Wait for the commit of the first item. Return False if the window is empty."""
        if not self._waiting:
            return False
        index, event, done = self._waiting.popleft()
        self._bytes -= len(event.payload)
        self._outcomes[index] = await failure_of(event, await done)
        return True


class BatchHandler:
    """Handles one batch: the response says which items are durable, and what is wrong with the others."""

    def __init__(self, admission: Admission, bodies: BodyReader, batcher: Batcher, limits: BatchLimits) -> None:
        self._admission = admission
        self._keys = admission.keys
        self._bodies = bodies
        self._batcher = batcher
        self._limits = limits

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        admission = self._admission
        try:
            outcomes = await self._outcomes(scope, protocol)
            response = response_of(outcomes)
            for error in filter(None, outcomes):
                admission.count_refused(error.code)
        except IngestError as exc:
            response = await admission.refuse(exc, "batch", scope)
        except Exception as exc:
            response = await admission.refuse(admission.unforeseen(exc), "batch", scope)
        else:
            # A batch with an item that the client must send again counts as not served, whatever the status.
            unavailable = any(error is not None and is_service_error(error) for error in outcomes)
            admission.count_response("batch", 503 if unavailable else response.status)
        response.send(protocol)

    async def _outcomes(self, scope: Scope, protocol: HttpProtocol) -> list[IngestError | None]:
        """Read and queue the request's items. Return an error for each item, or None if the item is durable."""
        admission = self._admission
        headers, client = admission.admit(scope)
        body = await self._bodies.read(protocol, headers, self._limits.body_bytes_max)
        items = split(body, self._limits.items_max)
        if client.bucket:
            client.bucket.take(items.count())
        message_headers = admission.propagate_trace_context(headers, client.message_headers)
        outcomes = await self._queue(items, admission.key_in(headers, client), message_headers)
        client.events += outcomes.count(None)
        return outcomes

    async def _queue(
        self, items: BatchBody, key: bytes | None, message_headers: MessageHeaders | None
    ) -> list[IngestError | None]:
        """Queue every valid item, at most one window at a time, and wait for the outcomes."""
        outcomes: list[IngestError | None] = []
        window = Window(outcomes)
        turn_bytes = 0
        for index, item in enumerate(items):
            submitted = self._submit(item, index, key, message_headers)
            while isinstance(submitted, Overloaded) and await window.shrink():
                # This batch's own items may fill the queue or make it late. Its commits make room for the next item.
                submitted = self._submit(item, index, key, message_headers)
            if isinstance(submitted, IngestError):
                outcomes.append(submitted)
            else:
                outcomes.append(None)
                await window.add(index, *submitted)
            turn_bytes += ITEM_OVERHEAD_BYTES + len(item)
            if turn_bytes > TURN_BYTES_MAX:
                turn_bytes = 0
                await asyncio.sleep(0)
        await window.drain()
        return outcomes

    def _submit(self, item: bytes, index: int, key: bytes | None, message_headers: MessageHeaders | None) -> Submitted:
        try:
            if len(item) > self._limits.item_bytes_max:
                raise BodyTooLarge(f"The event has {len(item)} bytes; the limit is {self._limits.item_bytes_max}.")
            event = decode(item, self._limits.zone)
            if key or self._keys.natural:
                event.key = self._keys.of(event, key, index)
            event.headers = message_headers
            return event, self._batcher.submit(event)
        except IngestError as exc:
            return exc
        except Exception as exc:
            return self._admission.unforeseen(exc)

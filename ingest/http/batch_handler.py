"""`POST /api/call-events/batch`: a JSON array of events, or NDJSON, each item as if posted alone."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from ingest.errors import BodyTooLarge, IngestError, Invalid, KeyReused, Overloaded, Rejected, RowRefused, StoreError
from ingest.events.event import Event, decode
from ingest.events.headers import MessageHeaders
from ingest.events.idempotency import Keys
from ingest.http.batch_body import BatchBody, split
from ingest.http.body_reader import BodyReader
from ingest.http.event_handler import Endpoint
from ingest.http.responses import Response
from ingest.http.rsgi import HttpProtocol, Scope
from ingest.pipeline.batcher import Batcher, failure_of
from ingest.pipeline.outcomes import Failures

PATH = "/api/call-events/batch"

TURN_BYTES_MAX = 131_072
"""After so much of a batch, about 5 ms of work, other requests have their turn."""
ITEM_OVERHEAD_BYTES = 300
"""An item costs as much as so many bytes, however short it is."""
WINDOW_ITEMS = 2_000
WINDOW_BYTES = 8 << 20
"""Of one batch, queued at a time: several commits' worth, so that a larger batch keeps all writers busy."""

Done = asyncio.Future[Failures | None]
Submitted = tuple[Event, Done] | IngestError
"""An event and what waits for it to be durable, or why it was not taken."""


class BatchLimits(msgspec.Struct, frozen=True):
    body_bytes_max: int
    items_max: int
    item_bytes_max: int


class Window:
    """Items of a batch that are queued and not known to be durable: bounded, as each is in memory twice."""

    def __init__(self, outcomes: list[IngestError | None]) -> None:
        """`outcomes`, by the item's index, are told why one failed."""
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
        """Wait for the first item's commit; False if there is none."""
        if not self._waiting:
            return False
        index, event, done = self._waiting.popleft()
        self._bytes -= len(event.payload)
        self._outcomes[index] = await failure_of(event, await done)
        return True


class BatchEndpoint:
    """Answers one batch: which items are durable, and what is wrong with the others."""

    def __init__(self, single: Endpoint, keys: Keys, bodies: BodyReader, batcher: Batcher, limits: BatchLimits) -> None:
        self._single = single
        self._keys = keys
        self._bodies = bodies
        self._batcher = batcher
        self._limits = limits

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        try:
            headers, grant = self._single.admit(scope)
            body = await self._bodies.read(protocol, headers, self._limits.body_bytes_max)
            items = split(body, self._limits.items_max)
            if grant.bucket:
                grant.bucket.take(items.count())
            carried = self._single.propagate_trace_context(headers, grant.carried)
            outcomes = await self._take(items, self._single.key_given(headers, grant), carried)
            grant.events += outcomes.count(None)
            answer = _answer(outcomes)
            for error in filter(None, outcomes):
                self._single.count_refused(error)
        except IngestError as exc:
            answer = await self._single.refuse(exc, "batch", scope)
        else:
            # Who has to send some of it again was not served, whatever the answer's status.
            unavailable = any(error is not None and _is_ours(error) for error in outcomes)
            self._single.count_answered("batch", 503 if unavailable else answer.status)
        answer.send(protocol)

    async def _take(
        self, items: BatchBody, key: bytes | None, carried: MessageHeaders | None
    ) -> list[IngestError | None]:
        """Queue every valid item, a window of them at a time: an error an item, None where it is durable."""
        outcomes: list[IngestError | None] = []
        window = Window(outcomes)
        turn_bytes = 0
        for index, item in enumerate(items):
            submitted = self._submit(item, index, key, carried)
            while isinstance(submitted, Overloaded) and await window.shrink():
                # What fills the queue, or makes it late, may be this batch's own: it goes as fast as the commits do.
                submitted = self._submit(item, index, key, carried)
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

    def _submit(self, item: bytes, index: int, key: bytes | None, carried: MessageHeaders | None) -> Submitted:
        try:
            if len(item) > self._limits.item_bytes_max:
                raise BodyTooLarge(f"The event has {len(item)} bytes; the service takes {self._limits.item_bytes_max}.")
            event = decode(item)
            if key or self._keys.natural:
                event.key = self._keys.of(event, key, index)
            event.headers = carried
            return event, self._batcher.submit(event)
        except IngestError as exc:
            return exc


REFUSED = RowRefused | KeyReused
"""Store errors that are the event's fault."""


def _answer(outcomes: Sequence[IngestError | None]) -> Response:
    accepted = outcomes.count(None)
    if not accepted:
        for error in outcomes:
            if error is not None and _is_ours(error):
                raise error  # the whole batch may be sent again
    rejected = [_rejected(index, error) for index, error in enumerate(outcomes) if error is not None]
    if not accepted:
        return Response.make(422, {"message": str(Invalid({})), "accepted": 0, "rejected": rejected})
    return Response.make(200, {"status": "queued", "accepted": accepted, "rejected": rejected})


def _rejected(index: int, error: IngestError) -> dict[str, Any]:
    """`retry` says that the same item, sent again, may be taken."""
    told: dict[str, Any] = {"index": index, "errors": _errors(error)}
    return told | {"retry": True} if _is_ours(error) else told


def _is_ours(error: IngestError) -> bool:
    """Not the client's fault."""
    return not isinstance(error, Rejected | REFUSED)


def _errors(error: IngestError) -> Any:
    if isinstance(error, Invalid):
        return error.errors
    if isinstance(error, StoreError) and not isinstance(error, REFUSED):
        return {"event": ["It could not be made durable: send it again."]}
    return {"event": [str(error)]}

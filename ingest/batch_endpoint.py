"""`POST /api/call-events/batch`: a JSON array of events, or NDJSON, each item as if posted alone."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ingest.answers import Answer
from ingest.batcher import Batcher, failure_of
from ingest.bodies import BodyReader
from ingest.endpoint import Endpoint
from ingest.errors import BodyTooLarge, IngestError, Invalid, Malformed, Rejected, RowRefused, StoreError
from ingest.events import Event, decode
from ingest.rsgi import HttpProtocol, Scope

PATH = "/api/call-events/batch"

_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class BatchLimits(msgspec.Struct, frozen=True):
    body_bytes_max: int
    items_max: int
    item_bytes_max: int


class BatchEndpoint:
    """Answers one batch: which items are durable, and what is wrong with the others."""

    def __init__(self, single: Endpoint, bodies: BodyReader, batcher: Batcher, limits: BatchLimits) -> None:
        self._single = single
        self._bodies = bodies
        self._batcher = batcher
        self._limits = limits

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        try:
            headers = self._single.admit(scope)
            body = await self._bodies.read(protocol, headers, self._limits.body_bytes_max)
            outcomes = await self._take(split(body, self._limits.items_max))
            answer = _answer(outcomes)
            for error in filter(None, outcomes):
                self._single.count_refused(error)
        except IngestError as exc:
            answer = self._single.refuse(exc)
        answer.send(protocol)

    async def _take(self, items: Sequence[bytes]) -> list[IngestError | None]:
        """Queue every valid item, then wait for all: an error an item, None where it is durable."""
        waiting = [self._submit(item) for item in items]
        outcomes: list[IngestError | None] = []
        for item in waiting:
            if isinstance(item, IngestError):
                outcomes.append(item)
            else:
                event, done = item
                outcomes.append(failure_of(event, await done))
        return outcomes

    def _submit(self, item: bytes) -> "tuple[Event, Any] | IngestError":
        try:
            if len(item) > self._limits.item_bytes_max:
                raise BodyTooLarge(f"The event has {len(item)} bytes; the service takes {self._limits.item_bytes_max}.")
            event = decode(item)
            return event, self._batcher.submit(event)
        except IngestError as exc:
            return exc


def split(body: bytes, items_max: int) -> list[bytes]:
    """The items of an array or of NDJSON lines. Raises `Malformed` or `BodyTooLarge`."""
    text = body.strip()
    if text.startswith(b"["):
        try:
            items = [bytes(raw) for raw in _decode_items(text)]
        except (msgspec.MsgspecError, RecursionError) as exc:
            raise Malformed(f"The body is not a valid JSON array: {exc}") from exc
    else:
        items = [line for line in text.splitlines() if line.strip()]
    if not items:
        raise Malformed("The body holds no events; it must be a JSON array or NDJSON.")
    if len(items) > items_max:
        raise BodyTooLarge(f"The body has {len(items)} events; the service takes {items_max} at once.")
    return items


def _answer(outcomes: Sequence[IngestError | None]) -> Answer:
    accepted = outcomes.count(None)
    if not accepted:
        for error in outcomes:
            if error is not None and not isinstance(error, Rejected | RowRefused):
                raise error  # not the client's fault: the whole batch may be sent again
    rejected = [{"index": index, "errors": _errors(error)} for index, error in enumerate(outcomes) if error is not None]
    if not accepted:
        return Answer.make(422, {"message": str(Invalid({})), "accepted": 0, "rejected": rejected})
    return Answer.make(200, {"status": "queued", "accepted": accepted, "rejected": rejected})


def _errors(error: IngestError) -> Any:
    if isinstance(error, Invalid):
        return error.errors
    if isinstance(error, StoreError) and not isinstance(error, RowRefused):
        return {"event": ["It could not be made durable: send it again."]}
    return {"event": [str(error)]}

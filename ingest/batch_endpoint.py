"""`POST /api/call-events/batch`: a JSON array of events, or NDJSON, each item as if posted alone."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

import msgspec

from ingest.answers import Answer
from ingest.batcher import Batcher, failure_of
from ingest.bodies import BodyReader
from ingest.carried import Carried
from ingest.endpoint import Endpoint
from ingest.errors import BodyTooLarge, IngestError, Invalid, KeyReused, Malformed, Rejected, RowRefused, StoreError
from ingest.events import Event, decode
from ingest.keys import Keys
from ingest.rsgi import HttpProtocol, Scope

PATH = "/api/call-events/batch"

TURN_BYTES_MAX = 131_072
"""After so much of a batch, about 5 ms of work, other requests have their turn."""
ITEM_OVERHEAD_BYTES = 300
"""An item costs as much as so many bytes, however short it is."""
JSON_BLANKS = b" \t\r\n"

_LINE = re.compile(rb"[^ \t\r\n](?:[^\n]*[^ \t\r\n])?")
"""A line that is not blank, without the blanks around it: NDJSON's lines end with a line feed, and only with it."""

_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode

Submitted = tuple[Event, Any] | IngestError
"""An event and what waits for it to be durable, or why it was not taken."""


class BatchLimits(msgspec.Struct, frozen=True):
    body_bytes_max: int
    items_max: int
    item_bytes_max: int


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
                grant.bucket.take(len(items))
            carried = self._single.carry(headers, grant.carried)
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
        self, items: Sequence[bytes], key: bytes | None, carried: Carried | None
    ) -> list[IngestError | None]:
        """Queue every valid item, then wait for all: an error an item, None where it is durable."""
        outcomes: list[IngestError | None] = []
        for submitted in await self._submit_all(items, key, carried):
            if isinstance(submitted, IngestError):
                outcomes.append(submitted)
            else:
                event, done = submitted
                outcomes.append(failure_of(event, await done))
        return outcomes

    async def _submit_all(self, items: Sequence[bytes], key: bytes | None, carried: Carried | None) -> list[Submitted]:
        submitted: list[Submitted] = []
        turn_bytes = 0
        for index, item in enumerate(items):
            submitted.append(self._submit(item, index, key, carried))
            turn_bytes += ITEM_OVERHEAD_BYTES + len(item)
            if turn_bytes > TURN_BYTES_MAX:
                turn_bytes = 0
                await asyncio.sleep(0)
        return submitted

    def _submit(self, item: bytes, index: int, key: bytes | None, carried: Carried | None) -> Submitted:
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


def split(body: bytes, items_max: int) -> list[bytes]:
    """The items of an array or of NDJSON lines. Raises `Malformed` or `BodyTooLarge`."""
    text = body.strip(JSON_BLANKS)
    items = _array(text, items_max) if text.startswith(b"[") else _lines(text, items_max)
    if not items:
        raise Malformed("The body holds no events; it must be a JSON array or NDJSON.")
    return items


def _array(text: bytes, items_max: int) -> list[bytes]:
    bounded = text.count(b",") >= items_max  # with fewer commas it cannot be too long
    try:
        items = _decode_bounded(items_max)(text) if bounded else _decode_items(text)
    except msgspec.ValidationError as exc:
        raise _too_many(items_max) from exc
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise Malformed(f"The body is not a valid JSON array: {exc}") from exc
    return [bytes(raw) for raw in items]


@cache
def _decode_bounded(items_max: int) -> Callable[[bytes], Iterator[msgspec.Raw]]:
    """Decodes an array and stops at the first item too many, before memory is given to millions of them.

    A list knows no such limit while it grows, but an array of fields does: one field an item.
    """
    fields = [(f"item_{number}", msgspec.Raw, None) for number in range(items_max)]
    items = msgspec.defstruct("Items", fields, array_like=True, forbid_unknown_fields=True, gc=False)
    decoder = msgspec.json.Decoder(items)
    return lambda text: (item for item in msgspec.structs.astuple(decoder.decode(text)) if item is not None)


def _lines(text: bytes, items_max: int) -> list[bytes]:
    lines = [line[0] for line in islice(_LINE.finditer(text), items_max + 1)]
    if len(lines) > items_max:
        raise _too_many(items_max)
    return lines


def _too_many(items_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body has more than the {items_max} events that the service takes at once.")


def _answer(outcomes: Sequence[IngestError | None]) -> Answer:
    accepted = outcomes.count(None)
    if not accepted:
        for error in outcomes:
            if error is not None and _is_ours(error):
                raise error  # the whole batch may be sent again
    rejected = [{"index": index, "errors": _errors(error)} for index, error in enumerate(outcomes) if error is not None]
    if not accepted:
        return Answer.make(422, {"message": str(Invalid({})), "accepted": 0, "rejected": rejected})
    return Answer.make(200, {"status": "queued", "accepted": accepted, "rejected": rejected})


def _is_ours(error: IngestError) -> bool:
    """Not the client's fault."""
    return not isinstance(error, Rejected | REFUSED)


def _errors(error: IngestError) -> Any:
    if isinstance(error, Invalid):
        return error.errors
    if isinstance(error, StoreError) and not isinstance(error, REFUSED):
        return {"event": ["It could not be made durable: send it again."]}
    return {"event": [str(error)]}

"""The lines that `ingest events` prints."""

from collections.abc import Iterator, Mapping

import msgspec

from ingest.clock import time_text
from ingest.events.event import Event
from ingest.events.ids import slot_of
from ingest.reading.base import EventRow
from ingest.reading.events import FoundEvent, Resent
from ingest.spool.search import SpooledEvent

PLACES = {
    "published": "confirmed by the broker, or its dead letter was dropped; the time is not kept",
    "outbox": "in the outbox: not known to be published; a relay publishes it",
    "dead letter": "a dead letter: the broker never takes it",
}
RESENT: Mapping[Resent, str] = {
    "resent": "in the outbox again: the service publishes the message once more",
    "retried": "was a dead letter, and is in the outbox again as it was received",
    "waiting": "is in the outbox already: nothing was done",
    "unknown": "no event has this id",
}


def listed(row: EventRow) -> str:
    return "  ".join((str(row.id), moment(row.accepted_us), row.call_id, row.event_type, *_fields(row.payload)))


def listed_spooled(found: SpooledEvent) -> str:
    event = found.batch.events[0]
    row = EventRow(found.batch.first_id, event.call_id, event.event_type, found.batch.created_us, event.payload)
    return f"{listed(row)}  (in {found.spool}: not in the database yet)"


def shown(found: FoundEvent, publishes_to: str) -> Iterator[str]:
    """Yield the lines of one event. `publishes_to` names the queue or stream of the settings."""
    row = found.row
    yield f"id:        {row.id} (made by id slot {slot_of(row.id)})"
    yield f"call:      {row.call_id}"
    yield f"type:      {row.event_type}"
    yield f"accepted:  {moment(row.accepted_us)}"
    yield f"stored:    {'yes, in call_event_logs' if found.stored else 'no row in call_event_logs'}"
    yield f"published: {PLACES[found.place]}"
    if found.place == "outbox":
        yield f"attempts:  {found.attempts} by relays"
    if found.place == "dead letter":
        yield f"reason:    {found.reason}"
        yield f"since:     {moment(found.dead_lettered_us)}"
    yield f"route:     {publishes_to}, by the settings of this command"
    if found.headers:
        yield f"headers:   {msgspec.json.encode(found.headers).decode()}"


def shown_spooled(found: SpooledEvent) -> Iterator[str]:
    event: Event = found.batch.events[0]
    yield f"id:        {found.batch.first_id}"
    yield f"call:      {event.call_id}"
    yield f"type:      {event.event_type}"
    yield f"accepted:  {moment(found.batch.created_us)}"
    yield f"stored:    in {found.spool} on this host; it waits for the database"
    yield f"published: {'confirmed by the broker' if found.published else 'not yet'}"


def moment(us: int) -> str:
    """UTC, to the millisecond."""
    return f"{time_text(us)[:-1]}.{us // 1000 % 1000:03}Z"


def _fields(payload: bytes | None) -> Iterator[str]:
    """The numbers and the duration, as the event has them."""
    try:
        event = msgspec.json.decode(payload) if payload else {}
    except msgspec.MsgspecError:
        return
    if isinstance(event, dict) and "from_number" in event:
        yield f"{event['from_number']} → {event.get('to_number')}"
        if event.get("duration") is not None:
            yield f"{event['duration']} s"

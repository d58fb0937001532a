"""The types of answers about stored events, from which the OpenAPI document is derived."""

from typing import Any

import msgspec

from ingest.clock import time_text
from ingest.events.ids import slot_of
from ingest.outbox.dead_letters import DeadLetter
from ingest.reading.base import EventPage, EventRow
from ingest.reading.events import FoundEvent, Place, Resent
from ingest.reading.masking import masked_payload
from ingest.status.snapshot import RefusedClient
from ingest.telemetry.logs import mask_text


class ListedEvent(msgspec.Struct, frozen=True):
    """`id` is text, because JavaScript's numbers are too short. It is the `message_id`. Times are RFC 3339 in UTC.

    `payload` is the event. It is null if it is larger than a page shows.
    """

    id: str
    call_id: str
    event_type: str
    accepted_time: str
    payload: Any


class EventList(msgspec.Struct, frozen=True):
    """`next` is the cursor of the next page, or null. A page may be empty and have a next one."""

    events: list[ListedEvent]
    next: str | None


class EventDetails(msgspec.Struct, frozen=True):
    """`place` says where the event is now; `slot` is the id slot of the worker that accepted it.

    `attempts` counts a relay's tries of an event in the outbox. `reason` says why an event is a dead letter.
    """

    event: ListedEvent
    stored: bool
    place: Place
    slot: int
    attempts: int
    reason: str
    dead_lettered_time: str | None
    headers: dict[str, str]


class ResendResult(msgspec.Struct, frozen=True):
    id: str
    outcome: Resent


class ListedDeadLetter(msgspec.Struct, frozen=True):
    """`call_id` and `event_type` are empty if the dead letter is damaged."""

    id: str
    call_id: str
    event_type: str
    dead_lettered_time: str
    reason: str


class DeadLetterList(msgspec.Struct, frozen=True):
    """`count` is the number of all dead letters; above 10,000 it is an estimate."""

    dead_letters: list[ListedDeadLetter]
    count: int
    next: str | None


class ChangeResult(msgspec.Struct, frozen=True):
    id: str
    done: bool


class RefusalList(msgspec.Struct, frozen=True):
    refused: list[RefusedClient]
    hours: int


def listed_event(row: EventRow, *, numbers: bool) -> ListedEvent:
    payload = _payload(row.payload, numbers)
    return ListedEvent(str(row.id), row.call_id, row.event_type, moment(row.accepted_us), payload)


def event_list(page: EventPage, *, numbers: bool) -> EventList:
    following = None if page.last_id is None else str(page.last_id)
    return EventList([listed_event(row, numbers=numbers) for row in page.rows], following)


def event_details(found: FoundEvent, *, numbers: bool) -> EventDetails:
    return EventDetails(
        listed_event(found.row, numbers=numbers),
        found.stored,
        found.place,
        slot_of(found.row.id),
        found.attempts,
        mask_text(found.reason),
        moment(found.dead_lettered_us) if found.dead_lettered_us else None,
        found.headers or {},
    )


def dead_letter_list(letters: list[DeadLetter], count: int, limit: int) -> DeadLetterList:
    following = str(letters[-1].event_id) if len(letters) == limit else None
    return DeadLetterList([_dead_letter(letter) for letter in letters], count, following)


def moment(us: int) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    return f"{time_text(us)[:-1]}.{us % 1_000_000:06}Z"


def _dead_letter(letter: DeadLetter) -> ListedDeadLetter:
    event = letter.batch.events[0] if letter.batch else None
    call_id, kind = (event.call_id, event.event_type) if event else ("", "")
    return ListedDeadLetter(
        str(letter.event_id), call_id, kind, moment(letter.dead_lettered_us), mask_text(letter.reason)
    )


def _payload(payload: bytes | None, numbers: bool) -> Any:
    if payload is None:
        return None
    if not numbers:
        return masked_payload(payload)
    try:
        msgspec.json.decode(payload)  # a row of another writer may be no JSON, and would spoil the answer
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return msgspec.Raw(payload)

"""Answers questions about stored events, and resends them."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from ingest.audit.trail import Actor, AuditTrail
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.outbox.dead_letters import DeadLetter
from ingest.reading.base import RESEND_MAX, EventLookup, EventRow, WaitingEntry

Place = Literal["published", "outbox", "dead letter"]
Resent = Literal["resent", "retried", "waiting", "unknown"]


class FoundEvent(msgspec.Struct, frozen=True):
    """`place` says where the event is now.

    - `published`: the broker confirmed it, or its dead letter was dropped. The time of the confirm is not kept.
    - `outbox`: it is not known to be published. A relay publishes it; `attempts` counts how often one tried.
    - `dead letter`: the broker never takes it, for this `reason`.

    `stored` is false if its row was deleted. `headers` are those of its first message, as far as they are kept.
    """

    row: EventRow
    stored: bool
    place: Place
    attempts: int = 0
    reason: str = ""
    dead_lettered_us: int = 0
    headers: dict[str, str] | None = None


class Events:
    def __init__(self, table: EventLookup, trail: AuditTrail) -> None:
        self._table = table
        self._trail = trail

    async def find(self, event_id: int) -> FoundEvent | None:
        """Return the event, from its row or from where it waits. Raises `StoreError`."""
        row = await self._table.event_row(event_id)
        letter = await self._dead_letter(event_id)
        if letter:
            return _dead(row, letter)
        entry = await self._table.outbox_entry_of(event_id)
        if entry:
            return _waiting(row, entry)
        # The entry may have become a dead letter between the two questions; the next answer shows it.
        return FoundEvent(row, True, "published") if row else None

    async def resend(self, actor: Actor, event_ids: Sequence[int]) -> dict[int, Resent]:
        """Let the relay publish these events once more: at most `RESEND_MAX`. Raises `StoreError`.

        - `resent`: a message with the same id, type, time and body as the row. It has no headers.
        - `retried`: a dead letter went back to the outbox, with the bytes and headers that were received.
        - `waiting`: the event is in the outbox already, so nothing was done.
        - `unknown`: there is no such event.
        """
        chosen = list(dict.fromkeys(event_ids))[:RESEND_MAX]
        found = {event_id: await self.find(event_id) for event_id in chosen}
        outcome = {event_id: _outcome(event) for event_id, event in found.items()}
        await self._trail.record_ids(actor, "events.resend", [i for i in chosen if outcome[i] in ("resent", "retried")])
        entries = [_batch(event.row) for i, event in found.items() if event and outcome[i] == "resent"]
        if entries:
            await self._table.add_entries(entries)
        if dead := [event_id for event_id in chosen if outcome[event_id] == "retried"]:
            await self._table.requeue_dead(dead)
        return outcome

    async def _dead_letter(self, event_id: int) -> DeadLetter | None:
        letters = await self._table.dead_letters(event_id - 1, 1)
        return letters[0] if letters and letters[0].event_id == event_id else None


def _outcome(event: FoundEvent | None) -> Resent:
    if event is None:
        return "unknown"
    if event.place == "dead letter":
        return "retried"
    return "waiting" if event.place == "outbox" else "resent"


def _batch(row: EventRow) -> Batch:
    """The event as a batch of its own. It names no producer: a stream would discard it as a duplicate."""
    return Batch([row.id], [Event(row.call_id, row.event_type, row.payload or b"")], row.accepted_us)


def _dead(row: EventRow | None, letter: DeadLetter) -> FoundEvent:
    event = letter.batch.events[0] if letter.batch else None
    known = row or _row_of(letter.event_id, letter.batch)
    return FoundEvent(
        known,
        row is not None,
        "dead letter",
        reason=letter.reason,
        dead_lettered_us=letter.dead_lettered_us,
        headers=event.headers if event else None,
    )


def _waiting(row: EventRow | None, entry: WaitingEntry) -> FoundEvent:
    event, known = entry.batch.events[0], row or _row_of(entry.batch.first_id, entry.batch)
    return FoundEvent(known, row is not None, "outbox", attempts=entry.attempts, headers=event.headers)


def _row_of(event_id: int, batch: Batch | None) -> EventRow:
    """The row that the event had. A damaged dead letter holds only its id."""
    if batch is None:
        return EventRow(event_id, "", "", 0, None)
    event = batch.events[0]
    return EventRow(event_id, event.call_id, event.event_type, batch.created_us, event.payload)

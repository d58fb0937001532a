"""Searches `call_event_logs` within bounds: by call, id or time, never by reading the whole table.

Each database's adapter implements `EventLookup`. An id holds the time, so a range of time is a range of ids.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ingest.events.batch import Batch
from ingest.events.ids import ID_MAX
from ingest.outbox.dead_letters import DeadLetter

READ_SECONDS_MAX = 2.0
"""The server ends a search after this time, so that it cannot hold up commits for long."""
ROWS_MAX = 500
"""Most events of a page."""
SCAN_ROWS_MAX = 20_000
"""Most rows that a search by type reads for a page. The page's cursor continues after them."""
LISTED_PAYLOAD_BYTES_MAX = 16_384
"""A page leaves out larger payloads, so that it stays below 8 MiB. A single event is read whole."""
RESEND_MAX = 100
"""Most events that are resent at a time, in one transaction."""
ENTRIES_SEEN_MAX = 20
"""Outbox entries that may hold an event: those of its slot that began within the second before it."""


class EventQuery(msgspec.Struct, frozen=True):
    """Selects events with ids from `first_id` to `last_id`. `newest` says from which end of them a page begins."""

    call_id: str | None = None
    event_type: str | None = None
    first_id: int = 0
    last_id: int = ID_MAX
    newest: bool = False

    def after(self, event_id: int) -> "EventQuery":
        """The rest of the events, behind this one."""
        if self.newest:
            return msgspec.structs.replace(self, last_id=min(self.last_id, event_id - 1))
        return msgspec.structs.replace(self, first_id=max(self.first_id, event_id + 1))


class EventRow(msgspec.Struct, frozen=True):
    """A row of `call_event_logs`. `payload` is as the database keeps it, or None if a page leaves it out."""

    id: int
    call_id: str
    event_type: str
    accepted_us: int
    payload: bytes | None


class EventPage(msgspec.Struct, frozen=True):
    """`last_id` is the last id that was looked at, for `EventQuery.after`. None means that nothing is left."""

    rows: Sequence[EventRow]
    last_id: int | None


class WaitingEntry(msgspec.Struct, frozen=True):
    """The outbox entry of an event. `attempts` counts how often a relay took it. `batch` has only this event."""

    attempts: int
    batch: Batch


class EventLookup(Protocol):
    """Every method raises `StoreError`, and `StoreUnavailable` after `READ_SECONDS_MAX`."""

    async def find_events(self, query: EventQuery, limit: int, scan_rows_max: int = SCAN_ROWS_MAX) -> EventPage:
        """Return up to `limit` events, ordered by id. A page may have fewer events than are left.

        A search by type reads at most `scan_rows_max` rows.
        """

    async def event_row(self, event_id: int) -> EventRow | None: ...

    async def outbox_entry_of(self, event_id: int) -> WaitingEntry | None: ...

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]: ...

    async def requeue_dead(self, event_ids: Sequence[int]) -> int: ...

    async def add_entries(self, batches: Sequence[Batch]) -> None:
        """Add outbox entries that any relay may publish at once: all or none.

        Raises `StoreError` if an entry of the same name exists.
        """


def entry_with(batch: Batch | None, event_id: int, attempts: int) -> WaitingEntry | None:
    """The entry if its batch has the event."""
    if batch is None or event_id not in batch.ids:
        return None
    return WaitingEntry(max(0, attempts), batch.picked([list(batch.ids).index(event_id)]))

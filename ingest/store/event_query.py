"""Selects events of `call_event_logs`, and reads them back."""

from typing import Protocol

import msgspec

from ingest.events.event import Event
from ingest.events.ids import ID_MAX


class EventFilter(msgspec.Struct, frozen=True):
    """Selects events from `first_id` to `last_id`. A tuple that is not empty selects only these calls, types or ids."""

    first_id: int = 0
    last_id: int = ID_MAX
    call_ids: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()


class EventTable(Protocol):
    """Errors are those of `ingest.store.base.Store`. A conversion that moves events also raises `StoreError`."""

    async def newest_id(self) -> int:
        """The newest event's id; 0 if there are no events."""

    async def count_events(self, selection: EventFilter) -> int: ...

    async def read_events(self, selection: EventFilter, limit: int) -> list[tuple[int, Event]]:
        """The first `limit` selected events, ordered by id. The payload is as the database stores it."""

"""Which events of `call_event_logs` are meant, and what is read of them."""

from typing import Protocol

import msgspec

from ingest.events.event import Event
from ingest.events.ids import ID_MAX


class EventFilter(msgspec.Struct, frozen=True):
    """Events from `first_id` to `last_id`; of these calls, types, ids, each if it is not empty."""

    first_id: int = 0
    last_id: int = ID_MAX
    call_ids: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()


class EventTable(Protocol):
    """Raises `StoreError`s, as `ingest.store.base.Outbox` does, also while not all events are in the table."""

    async def newest_id(self) -> int:
        """0 without any event."""

    async def count_events(self, selection: EventFilter) -> int: ...

    async def read_events(self, selection: EventFilter, limit: int) -> list[tuple[int, Event]]:
        """The first `limit` of them, in the order of their ids; the payload as the database keeps it."""

"""The outbox: an entry for each batch that is durable, and not known to be published."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ingest.events.batch import Batch

COUNTED_MAX = 10_000
"""Rows that are counted. More are estimated, so that a growing backlog does not make the question slower."""


class Backlog(msgspec.Struct, frozen=True):
    """The number of events and entries in the outbox, and the age of the oldest in seconds (0.0 if it is empty).

    Above `COUNTED_MAX` entries both numbers are estimates: lower bounds.
    """

    events: int = 0
    age_seconds: float = 0.0
    entries: int = 0


class Outbox(Protocol):
    """Durable batches that are perhaps not published yet, for dispatcher, settler and relay.

    Every method raises `StoreUnavailable` while the database is away, and `StoreError` otherwise. The store's own
    deadline bounds each call.
    """

    async def settle(self, first_ids: Sequence[int]) -> None:
        """Delete entries whose messages are confirmed. Unknown entries are ignored."""

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        """Lease up to `limit` entries whose lease ran out, and return their first ids, oldest first.

        No two callers get the same entry.
        """

    async def read(self, first_ids: Sequence[int]) -> list[Batch]:
        """Return the entries' batches, oldest first. Entries that were settled meanwhile are left out."""

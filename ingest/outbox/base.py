"""The outbox: entries of batches that are durable, and not known to be published."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ingest.events.batch import Batch

COUNTED_MAX = 10_000
"""Rows that are counted; how many more there are is estimated, so that to ask costs no more while they pile up."""


class Backlog(msgspec.Struct, frozen=True):
    """What is in the outbox: events, in so many entries, and the age of the oldest in seconds (0.0 without any).

    Of more than `COUNTED_MAX` entries both numbers are estimates: that many at least.
    """

    events: int = 0
    age_seconds: float = 0.0
    entries: int = 0


class Outbox(Protocol):
    """Batches that are durable and perhaps not published yet: what dispatcher, settler and relay need.

    Every method raises `StoreUnavailable` when the database is away, `StoreError` otherwise. None waits
    without a limit: each is bounded by the store's own deadline.
    """

    async def settle(self, first_ids: Sequence[int]) -> None:
        """The entries' messages are confirmed; unknown entries are ignored."""

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        """Lease up to `limit` entries whose lease ran out, oldest first, by their first id; no two callers get one."""

    async def read(self, first_ids: Sequence[int]) -> list[Batch]:
        """The entries' batches, oldest first; those settled meanwhile are left out."""

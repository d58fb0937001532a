"""The store's protocol: what the batcher, the relay and the slot keeper need of a database."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ingest.auth.tokens import TokenTable
from ingest.events.batch import Batch
from ingest.events.ids import LEASED_SLOTS_MAX
from ingest.outbox.base import Backlog, Outbox
from ingest.outbox.dead_letters import DeadLetterTable
from ingest.store.event_query import EventTable

LEASE_SECONDS_MAX = 86_400
"""Of an outbox entry, as `INGEST_LEASE_SECONDS` may ask for."""
ALL_LEASED = f"All {LEASED_SLOTS_MAX} id slots are leased; see lease_until in the table ingest_slots."


class SlotLease(msgspec.Struct, frozen=True):
    """A worker's right to make ids with `slot` until `until_ms` (Unix milliseconds).

    The slot's ids up to `floor_ms` may have been made by an earlier owner.
    """

    slot: int
    node: str
    until_ms: int
    floor_ms: int
    life: str = ""
    """A random value that this life alone knows; the lease is whose value is in the database."""


class Store(Outbox, TokenTable, DeadLetterTable, EventTable, Protocol):
    """The database. Errors and deadlines as in `Outbox`."""

    @property
    def unfinished(self) -> str | None:
        """What was interrupted in its tables, for people; events are stored all the same."""

    async def start(self) -> None:
        """Begin to connect. Never raises because the database is away."""

    async def close(self) -> None:
        """Close the connections; safe to call twice."""

    async def ping(self) -> None:
        """Return if the server answers, and the schema is as this version needs it."""

    async def probe(self) -> None:
        """Return if a commit would succeed now: its statements are tried with a row of no event, and rolled back.

        A server that answers may refuse every write: see `ping`. Raises `StoreError`.
        """

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        """Make rows and outbox entry durable in one transaction, and forget the `settled` entries.

        True if all were behind: see `OrderedStore`.

        Safe to repeat with the same batch after an unknown outcome: the ids make it idempotent.
        The outbox entry is nobody's to claim for `lease_seconds`. Raises `RowRefused` if the database
        refuses the content of certain events, `BatchRefused` if that is not certain, `IdsTaken` if other events have
        the ids, `DuplicateKeys` if other events have keys of these; nothing of the batch is kept then.
        No two events of the batch have the same key.
        """

    async def insert_published(self, batches: Sequence[Batch]) -> None:
        """Make rows of batches durable that are published already: without outbox entries, also without those that
        an earlier `commit`, of unknown outcome, may have left. Otherwise as `commit`; what raises may keep some.
        """

    async def forget_keys(self, before_ms: int, limit: int) -> int:
        """Forget up to `limit` keys of events accepted before that Unix time; how many."""

    async def count_rows(self, first_id: int, last_id: int) -> int:
        """How many events with ids from the first to the last, of the same slot, are durable."""

    async def backlog(self) -> Backlog:
        """What is not known to be published. It delays no other call, and costs no more the more there is."""

    async def lease_slot(self, node: str, life: str, lease_seconds: float) -> SlotLease:
        """Lease a slot that nobody holds. Raises `StoreError` if all are taken.

        None whose ids are far ahead of this host's clock is leased. The floor is not below the newest event's time.
        """

    async def renew_slot(self, lease: SlotLease, life: str, lease_seconds: float) -> SlotLease | None:
        """Extend the lease, keep `lease.floor_ms`, and replace `lease.life` by `life`; None if another life holds the
        slot now. Safe to repeat after an unknown outcome.
        """

    async def release_slot(self, lease: SlotLease, keep_seconds: float) -> None:
        """End the lease in so many seconds, and keep `lease.floor_ms`; nothing if another life holds the slot."""

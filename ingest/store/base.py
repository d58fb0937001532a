"""The store: the one place that states what a database promises to the other parts of the service."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ingest.audit.trail import AuditTable
from ingest.auth.tokens import TokenTable
from ingest.events.batch import Batch
from ingest.events.ids import LEASED_SLOTS_MAX
from ingest.outbox.base import Backlog, Outbox
from ingest.outbox.dead_letters import DeadLetterTable
from ingest.reading.base import EventLookup
from ingest.store.event_query import EventTable

LEASE_SECONDS_MAX = 86_400
"""The longest lease of an outbox entry: the upper limit of `INGEST_LEASE_SECONDS`."""
ALL_LEASED = f"All {LEASED_SLOTS_MAX} id slots are leased; see lease_until in the table ingest_slots."


class SlotLease(msgspec.Struct, frozen=True):
    """A worker's right to make ids with `slot` until `until_ms` (Unix milliseconds).

    An earlier owner of the slot may have made ids up to `last_issued_ms`, so this worker makes later ones.
    """

    slot: int
    node: str
    until_ms: int
    last_issued_ms: int = msgspec.field(name="floor_ms")
    life: str = ""
    """A random value that only one run of a worker knows. The lease belongs to the run whose value is stored."""


class Store(Outbox, TokenTable, DeadLetterTable, EventTable, AuditTable, EventLookup, Protocol):
    """The database. Every method has a deadline.

    It raises `StoreUnavailable` when the database is down, and another `StoreError` for other errors.
    """

    @property
    def unfinished(self) -> str | None:
        """A change of its tables that was interrupted, as a text for operators. Events are stored all the same."""

    async def start(self) -> None:
        """Begin to connect. Does not raise if the database is down."""

    async def close(self) -> None:
        """Close the connections. Safe to call twice."""

    async def ping(self) -> None:
        """Return if the server answers, and its schema is right for this version."""

    async def probe(self) -> None:
        """Return if a commit would succeed now: run its statements with a test row, and roll them back.

        A server that answers a `ping` may still refuse every write.
        """

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        """Make a batch durable: its rows and its outbox entry, in one transaction that deletes the `settled` entries.

        No other caller can claim the new entry for `lease_seconds`. No two events of the batch may have the same
        idempotency key. After an unknown outcome a caller may commit the same batch again: the ids make it idempotent.

        Returns True if the batch was committed in relay mode; see `ingest.ordering.base.OrderedStore`.

        These errors mean that nothing of the batch was stored:

        - `RowRefused`: the database refuses the content of certain events.
        - `BatchRefused`: it refuses the batch, but which events are to blame is not certain.
        - `IdsTaken`: other events have the ids.
        - `DuplicateKeys`: other events have some of the idempotency keys.
        """

    async def insert_published(self, batches: Sequence[Batch]) -> None:
        """Make the rows of published batches durable, without outbox entries.

        An entry that an earlier `commit` of unknown outcome may have left is deleted. Errors are those of `commit`, but
        some of the batches may be stored when it raises.
        """

    async def forget_keys(self, before_ms: int, limit: int) -> int:
        """Delete up to `limit` idempotency keys of events accepted before that Unix time. Return their number."""

    async def count_rows(self, first_id: int, last_id: int) -> int:
        """Count the durable events with ids from the first to the last. Both ids must be of the same slot."""

    async def backlog(self) -> Backlog:
        """Count the events not known to be published. It delays no other call, and its cost has an upper bound."""

    async def lease_slot(self, node: str, life: str, lease_seconds: float) -> SlotLease:
        """Lease a free slot. Raises `StoreError` if all slots are leased.

        A slot whose ids are far ahead of this host's clock is never leased. `last_issued_ms` is at least the time of
        the newest event.
        """

    async def renew_slot(self, lease: SlotLease, life: str, lease_seconds: float) -> SlotLease | None:
        """Extend the lease, store `lease.last_issued_ms`, and replace `lease.life` by `life`.

        Returns None if another life holds the slot now. Safe to repeat after an unknown outcome.
        """

    async def release_slot(self, lease: SlotLease, keep_seconds: float) -> None:
        """End the lease in `keep_seconds`, and store `lease.last_issued_ms`. No effect if another life holds it."""

"""The store's protocol: what the batcher, the relay and the slot keeper need of a database."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from ingest.auth.tokens import Token
from ingest.events.batch import Batch
from ingest.events.ids import LEASED_SLOTS_MAX
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


class TokenTable(Protocol):
    """Tokens that are made and withdrawn while the service runs. Errors and deadlines as in `Outbox`."""

    async def clock_us(self) -> int:
        """Unix microseconds by the database's clock, which all nodes share; SQLite's is this host's."""

    async def tokens(self) -> list[Token]:
        """All of them, expired ones too, oldest first."""

    async def add_token(self, token: Token) -> None: ...

    async def expire_tokens(self, digests: Sequence[bytes], expires_us: int) -> None:
        """Let them be valid until then, at most; unknown ones are ignored."""

    async def remove_tokens(self, digests: Sequence[bytes]) -> None:
        """Unknown ones are ignored."""


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
        the ids, `Repeats` if other events have keys of these; nothing of the batch is kept then.
        No two events of the batch have the same key.
        """

    async def restore(self, batches: Sequence[Batch]) -> None:
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


class OrderedStore(Store, Protocol):
    """A database that several workers and nodes agree in on the order of what they publish.

    `claim` gives entries so that none overtakes another of its slot; while all are behind, of any.
    """

    async def fall_behind(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> None:
        """From now on every new entry is left to the relays, and so are these.

        The `later` ones only their own worker may leave to them, by another call, within `lease_seconds`.
        """

    async def release(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> bool:
        """Whether all are behind still; then these entries are left to the relays, as by `fall_behind`."""

    async def keep_back(self, first_ids: Sequence[int], lease_seconds: float) -> None:
        """Renew the leases of `later` entries."""

    async def waits_before(self, event_id: int) -> bool:
        """Whether an older entry of the same slot is in the outbox."""

    async def catch_up(self, publish: Callable[[Sequence[Batch]], Awaitable[None]]) -> bool:
        """Let all workers publish by themselves again, unless much is left; whether they do.

        What little is left is passed to `publish` first, while no commit can be made.
        """

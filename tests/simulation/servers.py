"""The database and the broker of a world, as its workers, its faults and its checks see them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from ingest.auth.tokens import TokenTable
from ingest.broker.base import Held, Publisher
from ingest.events.batch import Batch
from ingest.retention.scheduler import RetentionScheduler
from ingest.settings import Settings
from ingest.store.base import Store
from ingest.telemetry.metrics import Metrics
from tests.simulation.machine.loop import Process


class ServerFault(msgspec.Struct, frozen=True):
    """It begins, and ends within this time. In a round of faults it happens with this probability."""

    probability: float
    seconds_max: float
    begin: Callable[[], object]
    end: Callable[[], object]


RETENTION_DAYS = 3
RETENTION_SECONDS = 1.5
"""The interval of retention."""
IDEMPOTENCY_SECONDS = 86_400.0


class Removed(msgspec.Struct, frozen=True):
    """A row that retention has removed, at this time (Unix microseconds by the true clock)."""

    event_id: int
    payload: bytes
    at_us: int


class Forgotten(msgspec.Struct, frozen=True):
    """The event of an idempotency key that was deleted, and when (Unix microseconds by the true clock)."""

    event_id: int
    at_us: int


class Servers(Protocol):
    """They outlive the workers."""

    marks: Sequence[str]
    """Texts in an event that database or broker refuse."""

    stream: bool
    """The broker has a stream, and not a queue."""
    went_back: bool
    """The database has lost commits, so it may have old entries again."""
    slots_lost: bool
    """The database has lost its id slots, so two workers may have the same one for a while."""
    keeps_order: bool
    """Nothing happens to the database and to clocks that ends the promise of an order."""

    def store(self, settings: Settings, metrics: Metrics, process: Process) -> Store: ...

    def publisher(self, settings: Settings, metrics: Metrics, held: Held, process: Process) -> Publisher: ...

    def operator(self, settings: Settings, process: Process) -> TokenTable:
        """The store of somebody who runs `ingest tokens`."""

    @property
    def tokens(self) -> tuple[int, Mapping[bytes, int | None]]:
        """How often the tokens have changed, and digest → expiry (Unix microseconds) of each one now."""

    retention_days: int
    """Days of events that the workers keep. 0 if they drop none."""
    archives: bool
    """The workers keep a day in an archive before they drop it."""

    def retention(self, settings: Settings, metrics: Metrics, process: Process) -> RetentionScheduler | None: ...

    def new_removed(self) -> Sequence[Removed]:
        """Rows that have gone since the last call."""

    def new_forgotten(self) -> Sequence[Forgotten]:
        """Idempotency keys that have gone since the last call."""

    def due(self, now_us: int) -> str | None:
        """The work that retention still has. None if nothing."""

    def process_ended(self, process: Process) -> None:
        """The kernel closes its connections."""

    @property
    def rows(self) -> Mapping[bytes, Sequence[int]]:
        """Payload of each row → its ids."""

    @property
    def entries(self) -> Collection[int]:
        """The first ids of the outbox."""

    def is_in_outbox(self, event_id: int) -> bool: ...

    @property
    def dead(self) -> Mapping[int, bytes]:
        """Id of each dead letter → payload."""

    def is_published(self, event_id: int, payload: bytes) -> bool:
        """The broker has confirmed the message, or may have."""

    def new_settled(self) -> Sequence[Batch]:
        """Batches whose entries were deleted since the last call."""

    def new_messages(self) -> Sequence[tuple[int, bytes]]:
        """Messages since the last call."""

    def all_messages(self) -> Sequence[tuple[int, bytes]]:
        """All messages now, in the order of the queue or stream."""

    def new_excused(self) -> set[bytes]:
        """Payloads of rows that the database has lost since the last call, after it had committed them."""

    @property
    def defect(self) -> Exception | None:
        """An error of the model itself."""

    def faults(self) -> Mapping[str, ServerFault]: ...

    def lose_slots(self) -> None:
        """An operator has restored the database, or a part of it, from a time without leases."""

    @property
    def takes_all(self) -> bool:
        """The database refuses no event for its content any more."""

    def repair(self) -> None:
        """An operator changes the table, so that the database `takes_all`, if it can refuse a content."""

    def end_faults(self) -> None: ...

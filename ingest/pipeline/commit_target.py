"""Where a batch is durable, and who publishes and settles it there: the database, or the spool."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ingest.events.batch import Batch


class BatchStore(Protocol):
    """What makes a batch durable; see `ingest.store.base.Store`."""

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool: ...


class Settling(Protocol):
    """Who settles outbox entries, also on the way with a commit; see `ingest.outbox.settler`."""

    def take(self) -> Sequence[int]: ...
    def add(self, first_ids: Sequence[int]) -> None: ...


class RelayPort(Protocol):
    """Who publishes what could not be published from memory; see `ingest.outbox.relay`."""

    def retry(self, first_id: int, positions: Sequence[int]) -> None: ...


class CommitTarget(msgspec.Struct, frozen=True):
    store: BatchStore
    settler: Settling
    relay: RelayPort
    in_database: bool = True

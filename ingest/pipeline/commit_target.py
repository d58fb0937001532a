"""A place where batches become durable: the database, or the spool while the database is away."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ingest.events.batch import Batch
from ingest.outbox.relay import Relay
from ingest.outbox.settler import Settler


class BatchStore(Protocol):
    """See `ingest.store.base.Store`."""

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool: ...

    async def probe(self) -> None: ...


class CommitTarget(msgspec.Struct, frozen=True):
    """A store, with the settler and the relay of its outbox."""

    store: BatchStore
    settler: Settler
    relay: Relay
    in_database: bool = True

    async def commit(self, batch: Batch, lease_seconds: float) -> bool:
        """Commit the batch, and settle confirmed entries in the same transaction. Raises `StoreError`.

        Returns True if the batch was committed in relay mode.
        """
        settled = self.settler.take()
        try:
            return await self.store.commit(batch, lease_seconds=lease_seconds, settled=settled)
        except BaseException:
            self.settler.add(settled)  # a later commit settles them
            raise

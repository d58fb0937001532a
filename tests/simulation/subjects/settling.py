"""Entries whose messages are confirmed: a worker settles them, also if the commit that should do it fails."""

import asyncio
from collections.abc import Callable, Sequence

from ingest.events.batch import Batch
from ingest.store.base import Store

TRIES_SECONDS = 1.0
"""A worker tries to settle an entry again within this time. Its timer takes a tenth of it."""


class SettleWatch:
    """Watches the database's settled entries of one worker. `is_well` is False once it stops, or was frozen."""

    def __init__(self, store: Store, is_well: Callable[[], bool], breaks: Callable[[str], None]) -> None:
        self._is_well = is_well
        self._breaks = breaks
        self._left: set[int] = set()
        """First ids of entries that a failed commit has not settled. Nobody has tried them since."""
        commit, settle = store.commit, store.settle

        async def committed(batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
            self._left.difference_update(settled)
            try:
                return await commit(batch, lease_seconds=lease_seconds, settled=settled)
            except (Exception, asyncio.CancelledError):
                if settled:
                    self._left.update(settled)
                    asyncio.get_running_loop().call_later(TRIES_SECONDS, self._look_at, settled)
                raise

        async def tried(first_ids: Sequence[int]) -> None:
            self._left.difference_update(first_ids)
            await settle(first_ids)

        store.commit, store.settle = committed, tried  # type: ignore[method-assign]

    def _look_at(self, first_ids: Sequence[int]) -> None:
        if not self._left.isdisjoint(first_ids) and self._is_well():
            self._breaks(f"an entry that a failed commit should have settled is forgotten: {min(self._left)}")

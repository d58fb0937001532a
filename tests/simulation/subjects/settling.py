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
        self._left: dict[int, float] = {}
        """First id of each entry that a failed commit has not settled → when. Nobody has tried it since."""
        commit, settle = store.commit, store.settle

        async def committed(batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
            self._try(settled)
            try:
                return await commit(batch, lease_seconds=lease_seconds, settled=settled)
            except (Exception, asyncio.CancelledError):
                if settled:
                    loop = asyncio.get_running_loop()
                    self._left.update(dict.fromkeys(settled, loop.time()))
                    loop.call_later(TRIES_SECONDS, self._look_at, settled, loop.time())
                raise

        async def tried(first_ids: Sequence[int]) -> None:
            self._try(first_ids)
            await settle(first_ids)

        store.commit, store.settle = committed, tried  # type: ignore[method-assign]

    def _try(self, first_ids: Sequence[int]) -> None:
        for first_id in first_ids:
            self._left.pop(first_id, None)

    def _look_at(self, first_ids: Sequence[int], since: float) -> None:
        forgotten = [first_id for first_id in first_ids if self._left.get(first_id) == since]
        if forgotten and self._is_well():
            self._breaks(f"an entry that a failed commit should have settled is forgotten: {forgotten[0]}")

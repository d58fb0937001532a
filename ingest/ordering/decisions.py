"""Committed batches leave the queue in order: this worker publishes them, or the relays do.

If a batch was committed in relay mode, the database decides.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from ingest.errors import StoreError
from ingest.ordering.commit_queue import CommitQueue, CommittedPart, PendingBatch
from ingest.ordering.deferred import DeferredBatches
from ingest.tasks import Background

Decide = Callable[[Sequence[CommittedPart], bool | None], None]


class PendingDecisions:
    """Holds parts that wait for a decision. All newer parts of the worker are held behind them."""

    def __init__(self, queue: CommitQueue, deferred: DeferredBatches, decide: Decide, background: Background) -> None:
        """`decide(parts, relay_mode)` gets the parts in order. The mode is None if the database does not answer."""
        self._queue = queue
        self._deferred = deferred
        self._decide = decide
        self._background = background
        self._held: deque[CommittedPart] = deque()
        self._asking: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[CommittedPart]:
        return iter(self._held)

    def finish(self, pending: PendingBatch) -> None:
        """Decide on the parts of this batch, and of those behind it, once all older batches have finished."""
        pending.finish()
        for leaving in self._queue.leaving():
            for part in leaving.parts:
                if self._held or self._asking or self._is_doubtful(part):
                    self._held.append(part)
                    self._begin()
                else:
                    self._decide([part], False)

    async def settle(self) -> None:
        """Return when all held parts are decided on. The caller bounds the wait."""
        if self._held:
            await asyncio.wait([self._begin()])

    def _is_doubtful(self, part: CommittedPart) -> bool:
        """Also if the part was not committed in relay mode, it must not overtake entries that the relays have now."""
        return part.relay_mode or (part.target.in_database and self._deferred.relays_have_older)

    def _begin(self) -> "asyncio.Task[None]":
        if not self._asking:
            self._asking = self._background.start(self._decide_on_all(), "order-asking")
        return self._asking

    async def _decide_on_all(self) -> None:
        try:
            while self._held:
                await self._decide_on(list(self._held))
        finally:
            self._asking = None

    async def _decide_on(self, parts: list[CommittedPart]) -> None:
        relay_mode: bool | None = None
        with suppress(StoreError):
            relay_mode = await self._deferred.leave_to_relays(parts)
        for _ in parts:
            self._held.popleft()
        while not relay_mode and self._held and not self._held[0].relay_mode:
            parts.append(self._held.popleft())
        self._decide(parts, relay_mode)

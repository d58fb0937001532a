"""Committed batches leave the queue in order: this worker publishes them, or the relays do.

If a batch was committed in relay mode, the database decides.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence

from ingest.ordering.commit_queue import CommitQueue, CommittedPart, PendingBatch
from ingest.tasks import Background


class PendingDecisions:
    """Holds parts that wait for a decision. All newer parts of the worker are held behind them."""

    def __init__(
        self,
        queue: CommitQueue,
        leave_to_relays: Callable[[Sequence[CommittedPart]], Awaitable[bool]],
        decide: Callable[[Sequence[CommittedPart], bool], None],
        background: Background,
    ) -> None:
        """`leave_to_relays(parts)` asks the database for the relay mode. `decide(parts, relay_mode)` gets the answer.

        Parts that were not committed in relay mode, and that nothing holds, are passed to `decide` at once.
        """
        self._queue = queue
        self._leave_to_relays = leave_to_relays
        self._decide = decide
        self._background = background
        self._held: deque[CommittedPart] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._barrier: PendingBatch | None = None

    def __iter__(self) -> Iterator[CommittedPart]:
        return iter(self._held)

    def raise_barrier(self) -> None:
        """Hold every batch that may have begun its commit by now, even if it was not committed in relay mode.

        Called when the worker leaves an entry to the relays: a newer batch must not overtake that entry.
        """
        self._barrier = self._queue.last

    def finish(self, pending: PendingBatch) -> None:
        """Decide on the parts of this batch, and of those behind it, once all older batches have finished."""
        pending.finish()
        for leaving in self._queue.leaving():
            for part in leaving.parts:
                if part.relay_mode or self._held or self._asking or self._barrier:
                    self._held.append(part)
                    self._begin()
                else:
                    self._decide([part], False)
            if leaving is self._barrier:
                self._barrier = None

    async def settle(self) -> None:
        """Return when all held parts are decided on. The caller bounds the wait."""
        if self._held:
            await asyncio.wait([self._begin()])

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
        relay_mode = await self._leave_to_relays(parts)
        for _ in parts:
            self._held.popleft()
        if relay_mode:
            self.raise_barrier()
        while not relay_mode and self._held and not self._held[0].relay_mode:
            parts.append(self._held.popleft())
        self._decide(parts, relay_mode)

"""Parts of batches that may be the relays' to publish: only the database knows, and it is asked, in their order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence

from ingest.ordering.commit_queue import CommitQueue, CommittedPart, PendingBatch
from ingest.tasks import Background


class PendingDecisions:
    """Of one worker. `ask` tells whether all are behind still, and `decide` is given that with the parts it is true of.

    Nothing passes those that are held: what comes after them is held, too.
    """

    def __init__(
        self,
        line: CommitQueue,
        ask: Callable[[Sequence[CommittedPart]], Awaitable[bool]],
        decide: Callable[[Sequence[CommittedPart], bool], None],
        background: Background,
    ) -> None:
        self._line = line
        self._ask = ask
        self._decide = decide
        self._background = background
        self._held: deque[CommittedPart] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._barrier: PendingBatch | None = None

    def __iter__(self) -> Iterator[CommittedPart]:
        return iter(self._held)

    def raise_barrier(self) -> None:
        """Something of this worker was left to the relays: what may have begun its commit before that must be, too,
        whatever it has read."""
        self._barrier = self._line.last

    def passed(self, ticket: PendingBatch) -> None:
        """All parts of the ticket were offered to `hold`."""
        if ticket is self._barrier:
            self._barrier = None

    def hold(self, part: CommittedPart) -> bool:
        """Whether the part is in doubt: then it is decided on later."""
        if not (part.behind or self._held or self._asking or self._barrier):
            return False
        self._held.append(part)
        self._begin()
        return True

    async def settle(self) -> None:
        """Until all that is held is decided on; the caller bounds the wait."""
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
        behind = await self._ask(parts)
        for _ in parts:
            self._held.popleft()
        if behind:
            self.raise_barrier()
        while not behind and self._held and not self._held[0].behind:
            parts.append(self._held.popleft())
        self._decide(parts, behind)

"""Settles the outbox entries of confirmed batches, with the next commit or by a statement of its own."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence

from ingest.errors import StoreError
from ingest.outbox.base import Outbox
from ingest.tasks import end

log = logging.getLogger("ingest.settler")

DELAY_SECONDS = 0.1
"""A confirmed batch waits this long for a commit that settles it."""
ENTRIES_MAX = 500
"""The most entries that one statement settles."""
ENTRIES_MIN = 8
"""Fewer entries wait for the timer: another statement in a commit would cost more than it saves."""


class Settler:
    """Settles entries of one outbox. An entry that is never settled is published again: no failure loses an event."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._first_ids: deque[int] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[bool]] = set()

    def add(self, first_ids: Iterable[int]) -> None:
        """Add confirmed entries, also those whose settling commit failed."""
        self._first_ids.extend(first_ids)
        self._soon()

    def take(self) -> Sequence[int]:
        """Take entries for a commit that settles them."""
        return self._take() if len(self._first_ids) >= ENTRIES_MIN else []

    async def drain(self) -> None:
        """Settle all entries, unless the store fails. The caller bounds the wait."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        while self._first_ids and await self._settle():
            pass

    async def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        await end(self._tasks)

    def _soon(self) -> None:
        if self._timer is None and self._first_ids:
            self._timer = asyncio.get_running_loop().call_later(DELAY_SECONDS, self._now)

    def _now(self) -> None:
        self._timer = None
        task = asyncio.get_running_loop().create_task(self._settle())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _take(self) -> Sequence[int]:
        return [self._first_ids.popleft() for _ in range(min(len(self._first_ids), ENTRIES_MAX))]

    async def _settle(self) -> bool:
        """Settle as many entries as one statement takes. Return False if it failed; a later call tries again."""
        first_ids = self._take()
        if not first_ids:
            return True  # a commit has taken the entries meanwhile
        try:
            await self._outbox.settle(first_ids)
        except StoreError as exc:
            log.debug("settling failed; tried again later", extra={"reason": str(exc)})
            self.add(first_ids)
            return False
        self._soon()
        return True

    def _ended(self, task: "asyncio.Task[bool]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("settling failed unexpectedly", exc_info=task.exception())

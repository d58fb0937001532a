"""Publisher confirms of one channel: they tell which messages of a batch the broker has accepted. Pure."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from ingest.errors import BrokerUnavailable
from ingest.events.batch import Batch


class Pending:
    """A published batch, with its delivery tags `first..last`, the open tags, and the refused positions."""

    __slots__ = ("batch", "done", "first", "last", "open", "refused", "returned")

    def __init__(self, batch: Batch, first: int, done: "asyncio.Future[None]") -> None:
        self.batch = batch
        self.first = first
        self.last = first + len(batch) - 1
        self.open = set(range(first, self.last + 1))
        self.refused: set[int] = set()
        self.returned: set[int] = set()
        self.done = done

    @property
    def untaken(self) -> Sequence[int]:
        """The positions (ascending) that the broker has refused, returned or not answered for."""
        if not self.open and not self.refused and not self.returned:
            return ()
        return sorted(self.refused.union(self.returned, (tag - self.first for tag in self.open)))

    @property
    def unanswered(self) -> Sequence[int]:
        """The positions (ascending) for which no answer came."""
        return sorted(tag - self.first for tag in self.open)

    def settle(self, tags: "set[int] | range", refused: bool) -> None:
        """Record the broker's answer for `tags`. The last answer wakes the waiter."""
        if refused:
            self.refused.update(tag - self.first for tag in self.open.intersection(tags))
        self.open.difference_update(tags)
        if not self.open and not self.done.done():
            self.done.set_result(None)


class ConfirmWindow:
    """The batches in flight on one channel, in the order of writing."""

    def __init__(self) -> None:
        self._pending: deque[Pending] = deque()
        self._last_tag = 0

    def __len__(self) -> int:
        """The number of messages in flight."""
        return sum(len(pending.open) for pending in self._pending)

    def add(self, batch: Batch, done: "asyncio.Future[None]") -> Pending:
        """Register a batch that is written now. Its tags follow those of the batch before."""
        pending = Pending(batch, self._last_tag + 1, done)
        self._last_tag = pending.last
        self._pending.append(pending)
        return pending

    def answer(self, tag: int, multiple: bool, refused: bool) -> None:
        """Record an ack or nack for `tag`, or for all tags up to it. Unknown tags are ignored."""
        for pending in self._pending:
            if pending.first > tag:
                break
            if multiple:
                pending.settle(range(pending.first, min(tag, pending.last) + 1), refused)
            elif tag <= pending.last:
                pending.settle({tag}, refused)
        while self._pending and not self._pending[0].open:
            self._pending.popleft()

    def returned(self, event_id: int) -> None:
        """Record a message that the broker could not route to a queue. Its ack follows."""
        for pending in self._pending:
            if event_id in pending.batch.ids:
                pending.returned.add(pending.batch.ids.index(event_id))
                return

    def fail(self, error: Callable[[], BrokerUnavailable]) -> None:
        """Fail all waiters, because the channel is gone. The outcome of open messages stays unknown."""
        while self._pending:
            pending = self._pending.popleft()
            if not pending.done.done():
                pending.done.set_exception(error())

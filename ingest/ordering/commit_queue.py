"""The batches that a worker commits, in the order of their ids."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from ingest.events.batch import Batch
from ingest.pipeline.commit_target import CommitTarget


class PendingBatch:
    """A batch from before its commit until its clients are answered. It has several parts if rows were refused."""

    __slots__ = ("answer", "finished", "first_id", "last_id", "parts", "unacknowledged_parts")

    def __init__(self, batch: Batch) -> None:
        self.first_id, self.last_id = batch.first_id, batch.last_id
        self.parts: list[CommittedPart] = []
        self.unacknowledged_parts = 0
        self.finished = False
        """No more of it will be committed."""
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when all committed parts are acknowledged."""

    def when_acknowledged(self, answer: Callable[[], None]) -> None:
        if self.answer.done():
            answer()
        else:
            self.answer.add_done_callback(lambda _: answer())


class CommittedPart:
    """Events of a batch that one commit made durable: usually the whole batch."""

    __slots__ = ("acknowledged", "batch", "deferred", "pending", "relay_mode", "target")

    def __init__(self, batch: Batch, target: CommitTarget, pending: PendingBatch, relay_mode: bool) -> None:
        self.batch = batch
        self.target = target
        self.pending = pending
        self.relay_mode = relay_mode
        """It was committed in relay mode."""
        self.deferred = False
        """It is not published from memory any more."""
        self.acknowledged = False

    def acknowledge(self) -> None:
        """Release the clients' answer: the stream has the events, or will have them before any later ones."""
        if not self.acknowledged:
            self.acknowledged = True
            self.pending.unacknowledged_parts -= 1
            if not self.pending.unacknowledged_parts and not self.pending.answer.done():
                self.pending.answer.set_result(None)


class CommitQueue:
    """A batch leaves the queue when it is finished and all older batches have left."""

    def __init__(self) -> None:
        self._pending: deque[PendingBatch] = deque()
        self._in_relay_mode: set[int] = set()
        """First ids of parts whose commit has just returned."""

    @property
    def last(self) -> PendingBatch | None:
        return self._pending[-1] if self._pending else None

    def join(self, batch: Batch) -> PendingBatch:
        """Append a batch before its commit. Batches join in the order of their ids."""
        self._pending.append(PendingBatch(batch))
        return self._pending[-1]

    def note_relay_mode(self, part: Batch) -> None:
        self._in_relay_mode.add(part.first_id)

    def add(self, part: Batch, target: CommitTarget) -> None:
        """Add a committed part to its batch."""
        pending = next(one for one in self._pending if one.first_id <= part.first_id <= one.last_id)
        relay_mode = part.first_id in self._in_relay_mode
        self._in_relay_mode.discard(part.first_id)
        pending.parts.append(CommittedPart(part, target, pending, relay_mode))

    def finish(self, pending: PendingBatch) -> None:
        pending.parts.sort(key=lambda part: part.batch.first_id)
        pending.unacknowledged_parts, pending.finished = len(pending.parts), True
        if not pending.parts:
            pending.answer.set_result(None)

    def leaving(self) -> Iterator[PendingBatch]:
        while self._pending and self._pending[0].finished:
            yield self._pending.popleft()

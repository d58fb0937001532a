"""The batches that a worker commits, in the order of their ids."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator

from ingest.events.batch import Batch
from ingest.pipeline.commit_target import CommitTarget


class PendingBatch:
    """A batch from before its commit until its clients are answered. It has several parts if rows were refused."""

    __slots__ = ("answer", "finished", "first_id", "last_id", "originals", "parts")

    def __init__(self, batch: Batch) -> None:
        self.first_id, self.last_id = batch.first_id, batch.last_id
        self.parts: list[CommittedPart] = []
        self.originals: set[int] = set()
        """Ids of earlier events that this batch repeats. The answer must not come before the stream has them."""
        self.finished = False
        """No more of it will be committed."""
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when all committed parts and all originals are acknowledged."""

    def finish(self) -> None:
        self.parts.sort(key=lambda part: part.batch.first_id)
        self.finished = True
        self.answer_if_acknowledged()

    def answer_if_acknowledged(self) -> None:
        waits = self.originals or self.answer.done()
        if self.finished and not waits and all(part.acknowledged for part in self.parts):
            self.answer.set_result(None)


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
        self.acknowledged = True
        self.pending.answer_if_acknowledged()


class CommitQueue:
    """A batch leaves the queue when it is finished and all older batches have left."""

    def __init__(self) -> None:
        self._pending: deque[PendingBatch] = deque()

    def join(self, batch: Batch) -> PendingBatch:
        """Append a batch before its commit. Batches join in the order of their ids."""
        self._pending.append(PendingBatch(batch))
        return self._pending[-1]

    def add(self, part: Batch, target: CommitTarget, *, relay_mode: bool) -> None:
        """Add a committed part to its batch."""
        pending = self._of(part)
        pending.parts.append(CommittedPart(part, target, pending, relay_mode))

    def repeats(self, part: Batch, originals: Iterable[int]) -> None:
        """Note that events of this part repeat earlier ones with these ids."""
        self._of(part).originals.update(originals)

    def _of(self, part: Batch) -> PendingBatch:
        return next(one for one in self._pending if one.first_id <= part.first_id <= one.last_id)

    def leaving(self) -> Iterator[PendingBatch]:
        while self._pending and self._pending[0].finished:
            yield self._pending.popleft()

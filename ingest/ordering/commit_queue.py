"""Batches in the order of their ids, from before their commits on, as long as somebody waits for them."""

import asyncio
from collections import deque
from collections.abc import Iterator

from ingest.events.batch import Batch
from ingest.pipeline.commit_target import CommitTarget


class PendingBatch:
    """A batch from before its commit on; committed in parts where rows were refused."""

    __slots__ = ("answer", "finished", "first_id", "last_id", "parts", "unacknowledged_parts")

    def __init__(self, batch: Batch) -> None:
        self.first_id, self.last_id = batch.first_id, batch.last_id
        self.parts: list[CommittedPart] = []
        self.unacknowledged_parts = 0
        """Parts of which nobody may be told yet."""
        self.finished = False
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class CommittedPart:
    """What of a batch one commit has made durable, all of it as a rule."""

    __slots__ = ("batch", "behind", "left", "safe", "target", "ticket")

    def __init__(self, batch: Batch, target: CommitTarget, ticket: PendingBatch, behind: bool) -> None:
        self.batch = batch
        self.target = target
        self.ticket = ticket
        self.behind = behind
        """All were behind as it was committed."""
        self.left = False
        """It is not published from memory any more."""
        self.safe = False

    def acknowledge(self) -> None:
        """It is in the stream, or will be before what follows it."""
        if not self.safe:
            self.safe = True
            self.ticket.unacknowledged_parts -= 1
            if not self.ticket.unacknowledged_parts and not self.ticket.answer.done():
                self.ticket.answer.set_result(None)


class CommitQueue:
    """All batches that are being committed; each leaves it when those before it have left."""

    def __init__(self) -> None:
        self._tickets: deque[PendingBatch] = deque()

    @property
    def last(self) -> PendingBatch | None:
        return self._tickets[-1] if self._tickets else None

    def join(self, batch: Batch) -> None:
        """In the order of the ids."""
        self._tickets.append(PendingBatch(batch))

    def ticket(self, batch: Batch) -> PendingBatch:
        """Of a batch, or a part of it."""
        return next(ticket for ticket in self._tickets if ticket.first_id <= batch.first_id <= ticket.last_id)

    def finish(self, batch: Batch) -> PendingBatch:
        """No more of it will be committed."""
        ticket = self.ticket(batch)
        ticket.parts.sort(key=lambda part: part.batch.first_id)
        ticket.unacknowledged_parts, ticket.finished = len(ticket.parts), True
        if not ticket.parts:
            ticket.answer.set_result(None)
        return ticket

    def leaving(self) -> Iterator[PendingBatch]:
        while self._tickets and self._tickets[0].finished:
            yield self._tickets.popleft()

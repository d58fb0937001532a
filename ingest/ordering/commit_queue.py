"""Batches in the order of their ids, from before their commits on, as long as somebody waits for them."""

import asyncio
from collections import deque
from collections.abc import Iterator

from ingest.events.batch import Batch
from ingest.pipeline.commit_target import Home


class Ticket:
    """A batch from before its commit on; committed in parts where rows were refused."""

    __slots__ = ("answer", "finished", "first_id", "last_id", "parts", "unsafe")

    def __init__(self, batch: Batch) -> None:
        self.first_id, self.last_id = batch.first_id, batch.last_id
        self.parts: list[Part] = []
        self.unsafe = 0
        """Parts of which nobody may be told yet."""
        self.finished = False
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Part:
    """What of a batch one commit has made durable, all of it as a rule."""

    __slots__ = ("batch", "behind", "home", "left", "safe", "ticket")

    def __init__(self, batch: Batch, home: Home, ticket: Ticket, behind: bool) -> None:
        self.batch = batch
        self.home = home
        self.ticket = ticket
        self.behind = behind
        """All were behind as it was committed."""
        self.left = False
        """It is not published from memory any more."""
        self.safe = False

    def make_safe(self) -> None:
        """It is in the stream, or will be before what follows it."""
        if not self.safe:
            self.safe = True
            self.ticket.unsafe -= 1
            if not self.ticket.unsafe and not self.ticket.answer.done():
                self.ticket.answer.set_result(None)


class Line:
    """All batches that are being committed; each leaves it when those before it have left."""

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque()

    @property
    def last(self) -> Ticket | None:
        return self._tickets[-1] if self._tickets else None

    def join(self, batch: Batch) -> None:
        """In the order of the ids."""
        self._tickets.append(Ticket(batch))

    def ticket(self, batch: Batch) -> Ticket:
        """Of a batch, or a part of it."""
        return next(ticket for ticket in self._tickets if ticket.first_id <= batch.first_id <= ticket.last_id)

    def finish(self, batch: Batch) -> Ticket:
        """No more of it will be committed."""
        ticket = self.ticket(batch)
        ticket.parts.sort(key=lambda part: part.batch.first_id)
        ticket.unsafe, ticket.finished = len(ticket.parts), True
        if not ticket.parts:
            ticket.answer.set_result(None)
        return ticket

    def leaving(self) -> Iterator[Ticket]:
        while self._tickets and self._tickets[0].finished:
            yield self._tickets.popleft()

"""What became of a batch's events, and its parts."""

import asyncio
from collections.abc import Mapping, Sequence

from ingest.errors import KeyReused, StoreError
from ingest.events.batch import Batch

Failures = Mapping[int, StoreError]
"""`id()` of an event object → why it could not be made durable."""


class Undecided(StoreError):
    """Of an event that waits for the database, while its neighbours need not: `failure` tells what becomes of it."""

    def __init__(self, outcome: "asyncio.Future[Failures]", event_id: int) -> None:
        super().__init__()
        self._outcome = outcome
        self._event_id = event_id

    async def failure(self) -> StoreError | None:
        return (await asyncio.shield(self._outcome)).get(self._event_id)


def failures_of_duplicates(batch: Batch, twins: Mapping[int, int], failures: Failures) -> Failures:
    """A twin fares as the first event with its key did, if it is the same event."""
    found: dict[int, StoreError] = {}
    for position, first in twins.items():
        one, other = batch.events[first], batch.events[position]
        if one.key != other.key:
            found[id(other)] = KeyReused()
        elif id(one) in failures:
            found[id(other)] = failures[id(one)]
    return found


def but_failed(batch: Batch, failures: Failures) -> Batch:
    return batch.picked([at for at, event in enumerate(batch.events) if id(event) not in failures])


def halves(batch: Batch) -> Sequence[Batch]:
    """The second half and the first, which is taken off the end first; nothing of a single event."""
    middle = len(batch) // 2
    return [batch.part(middle, len(batch)), batch.part(0, middle)] if middle else []

"""The outcome of a commit for each event of a batch, and for the batch's parts."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence

from ingest.errors import KeyReused, StoreError
from ingest.events.batch import Batch
from ingest.events.event import Event

Failures = Mapping[int, StoreError]
"""`id()` of an event object → why the event is not durable."""


class Undecided(StoreError):
    """The outcome of an event that still waits for the database, while the answer to its neighbors need not."""

    def __init__(self, outcome: "asyncio.Future[Failures]", event_id: int) -> None:
        super().__init__()
        self._outcome = outcome
        self._event_id = event_id

    async def failure(self) -> StoreError | None:
        return (await asyncio.shield(self._outcome)).get(self._event_id)


async def failure_of(event: Event, failures: Failures | None) -> StoreError | None:
    """The event's failure among those of its group. None if the event is durable."""
    failure = failures.get(id(event)) if failures else None
    return await failure.failure() if isinstance(failure, Undecided) else failure


def failures_of_all(events: Iterable[Event], error: StoreError) -> Failures:
    return dict.fromkeys(map(id, events), error)


async def failures_or_all(part: Batch, work: Awaitable[Failures]) -> Failures:
    """The failures that `work` returns. If it raises `StoreError`, all events of the part have failed."""
    try:
        return await work
    except StoreError as exc:
        return failures_of_all(part.events, exc)


def failures_of_duplicates(batch: Batch, duplicates: Mapping[int, int], failures: Failures) -> Failures:
    """A duplicate shares the outcome of the first event with its key, if both are the same event."""
    found: dict[int, StoreError] = {}
    for position, first in duplicates.items():
        original, duplicate = batch.events[first], batch.events[position]
        if original.key != duplicate.key:
            found[id(duplicate)] = KeyReused()
        elif id(original) in failures:
            found[id(duplicate)] = failures[id(original)]
    return found


def but_failed(batch: Batch, failures: Failures) -> Batch:
    return batch.picked([at for at, event in enumerate(batch.events) if id(event) not in failures])


def halves(batch: Batch) -> Sequence[Batch]:
    """The second half, then the first: `Isolation` tries the last part first. A single event has no halves."""
    middle = len(batch) // 2
    return [batch.part(middle, len(batch)), batch.part(0, middle)] if middle else []

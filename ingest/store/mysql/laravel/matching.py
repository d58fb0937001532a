"""Chooses the row of each queued job, without any I/O: its message then has the row's id."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ingest.events.event import Event
from ingest.store.mysql.laravel.job import PendingEvent, fields_of, same_event

NO_ROW = "its row {} is not in the original's table, and it has no event of its own"


class Row(msgspec.Struct, frozen=True):
    """An adopted row: its id of the original and of this service."""

    old_id: int
    id: int
    event: Event

    @property
    def fields(self) -> dict[str, Any]:
        return fields_of(self.event.payload) or {}


class Job(msgspec.Struct, frozen=True):
    """`reason` is empty, or why the original gave the job up."""

    id: int
    created_us: int
    reason: str
    holds: PendingEvent


class Message(msgspec.Struct, frozen=True):
    """`event_id` is None if no row has this event, or another job has sent the row's."""

    job: Job
    event: Event
    event_id: int | None


def calls_of(jobs: Iterable[Job]) -> set[str]:
    """The calls of which the rows are needed."""
    return {str(job.holds.fields["call_id"]) for job in jobs if job.holds.body and job.holds.row_id is None}


def match(jobs: Sequence[Job], rows: Sequence[Row], sent: Iterable[int]) -> tuple[list[Message], dict[int, str]]:
    """Return the messages, and job → reason of those that cannot be sent. `sent` are ids of messages of earlier jobs.

    The newest of equal rows is chosen, as the original's worker has sent the older ones first.
    """
    by_old_id = {row.old_id: row for row in rows}
    by_call: dict[str, list[Row]] = {}
    for row in rows:
        by_call.setdefault(row.event.call_id, []).append(row)
    used = set(sent)
    messages: list[Message] = []
    unsendable: dict[int, str] = {}
    for job in jobs:
        found = _row_of(job.holds, by_old_id, by_call, used)
        if found is None and not job.holds.body:
            unsendable[job.id] = NO_ROW.format(job.holds.row_id)
            continue
        event_id = found.id if found and found.id not in used else None
        used.update(() if event_id is None else (event_id,))
        messages.append(Message(job, _event_of(job.holds, found), event_id))
    return messages, unsendable


def _row_of(
    holds: PendingEvent, by_old_id: Mapping[int, Row], by_call: Mapping[str, Sequence[Row]], used: set[int]
) -> Row | None:
    if holds.row_id is not None:
        return by_old_id.get(holds.row_id)
    fields = holds.fields
    free = [row for row in by_call.get(str(fields["call_id"]), ()) if row.id not in used]
    equal = [row for row in free if row.fields == fields] or [row for row in free if same_event(row.fields, fields)]
    return max(equal, key=lambda row: row.id, default=None)


def _event_of(holds: PendingEvent, row: Row | None) -> Event:
    if holds.body:
        return Event(str(holds.fields["call_id"]), str(holds.fields["event_type"]), holds.body)
    assert row is not None  # noqa: S101 - `match` has looked
    return row.event

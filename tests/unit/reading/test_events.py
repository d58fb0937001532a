"""Where an event is, and what a resend does with it."""

from collections.abc import Sequence

import msgspec
import pytest

from ingest.audit.trail import Actor, AuditTrail
from ingest.errors import StoreError
from ingest.events.batch import Batch
from ingest.outbox.dead_letters import DeadLetter
from ingest.reading.base import RESEND_MAX, EventRow, WaitingEntry
from ingest.reading.events import Events
from tests.unit.fakes import FakeClock, FakeStore
from tests.unit.making import NOW_US, batch

ALICE = Actor("token:alice", "192.0.2.1")
MADE = msgspec.structs.replace(batch(4), producer=7)
PUBLISHED, WAITING, DEAD, DELETED = MADE.ids


class FakeTable(FakeStore):
    """A published event, one in the outbox, a dead letter, and one whose row was deleted before it was published."""

    def __init__(self) -> None:
        super().__init__()
        self.added: list[Batch] = []
        self.requeued: list[int] = []

    async def event_row(self, event_id: int) -> EventRow | None:
        if event_id not in (PUBLISHED, WAITING, DEAD):
            return None
        event = MADE.events[MADE.ids.index(event_id)]
        return EventRow(event_id, event.call_id, event.event_type, NOW_US, event.payload)

    async def outbox_entry_of(self, event_id: int) -> WaitingEntry | None:
        at = MADE.ids.index(event_id) if event_id in (WAITING, DELETED) else None
        return None if at is None else WaitingEntry(3, MADE.part(at, at + 1))

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]:
        return [DeadLetter(DEAD, "too large", NOW_US + 1, MADE.part(2, 3))] if after_id < DEAD else []

    async def requeue_dead(self, event_ids: Sequence[int]) -> int:
        self.requeued += event_ids
        return len(event_ids)

    async def add_entries(self, batches: Sequence[Batch]) -> None:
        self.added += batches


@pytest.fixture
def table() -> FakeTable:
    return FakeTable()


@pytest.fixture
def events(table: FakeTable) -> Events:
    return Events(table, AuditTrail(table, FakeClock().now_us))


async def test_place_of_an_event_is_known(events: Events) -> None:
    found = [await events.find(event_id) for event_id in MADE.ids]

    assert [one and (one.place, one.stored) for one in found] == [
        ("published", True),
        ("outbox", True),
        ("dead letter", True),
        ("outbox", False),
    ]
    assert [one and (one.attempts, one.reason, one.dead_lettered_us) for one in found] == [
        (0, "", 0),
        (3, "", 0),
        (0, "too large", NOW_US + 1),
        (3, "", 0),
    ]
    assert [one and one.row.payload for one in found] == [event.payload for event in MADE.events]
    assert await events.find(MADE.last_id + 1) is None


async def test_resend_does_what_the_place_needs(events: Events, table: FakeTable) -> None:
    outcome = await events.resend(ALICE, [*MADE.ids, 1])

    assert list(outcome.values()) == ["resent", "waiting", "retried", "waiting", "unknown"]
    (again,) = table.added
    assert (again.ids, again.created_us, again.producer) == ([PUBLISHED], NOW_US, 0)
    assert again.events[0].payload == MADE.events[0].payload
    assert table.requeued == [DEAD]
    (entry,) = table.audited
    assert (entry.actor, entry.action, entry.details["event_ids"]) == (
        "token:alice",
        "events.resend",
        [PUBLISHED, DEAD],
    )


async def test_resend_without_its_audit_entry_does_not_happen(events: Events, table: FakeTable) -> None:
    table.audit_errors.append(StoreError("away"))

    with pytest.raises(StoreError):
        await events.resend(ALICE, [PUBLISHED, DEAD])

    assert (table.added, table.requeued) == ([], [])


async def test_id_is_resent_once_and_resends_are_bounded(events: Events, table: FakeTable) -> None:
    outcome = await events.resend(ALICE, [PUBLISHED] * 3 + list(range(1, 2 * RESEND_MAX)))

    assert len(table.added) == 1
    assert len(outcome) == RESEND_MAX

"""Events and batches for tests."""

import json
from collections.abc import Sequence
from enum import Enum
from typing import Any

from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import IdGenerator

NOW_US = 1_738_331_100_123_456
"""2025-01-31T13:45:00.123456Z"""

FIELDS: dict[str, Any] = {
    "call_id": "a84b4c76e66710@pbx.example.com",
    "from_number": "+15551230001",
    "to_number": "+15551230002",
    "event_type": "call_started",
    "timestamp": "2025-01-31T13:45:00Z",
}


class Absent(Enum):
    """The value of a field that is left out."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


def body(**changes: Any) -> bytes:
    """The JSON of a valid event with `changes`; a field that is `ABSENT` is left out."""
    fields = {name: value for name, value in {**FIELDS, **changes}.items() if value is not ABSENT}
    return json.dumps(fields).encode()


def event(call_id: str = "call-1", event_type: str = "call_started", **changes: Any) -> Event:
    """A decoded event."""
    return Event(call_id, event_type, body(call_id=call_id, event_type=event_type, **changes))


def events(count: int) -> list[Event]:
    return [event(f"call-{number}") for number in range(count)]


def batch(of: int | Sequence[Event] = 1, *, slot: int = 1, us: int = NOW_US) -> Batch:
    """A batch of these events, or of this number of events, made at `us` with `slot`."""
    made = events(of) if isinstance(of, int) else of
    return Batch(IdGenerator(slot, lambda: us).take(len(made)), made, us)


def call_ids(of: Batch) -> list[str]:
    return [made.call_id for made in of.events]

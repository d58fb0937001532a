"""The events that benchmarks send: calls of three steps, with one body for each step."""

import json
from collections.abc import Iterator
from typing import Any

STEPS = ("call_started", "call_answered", "call_ended")


def step(call: str, event_type: str) -> dict[str, Any]:
    """Return the fields of one step of a call."""
    fields: dict[str, Any] = {
        "call_id": f"{call}@pbx.example.com",
        "from_number": "+15551230001",
        "to_number": "+15551230002",
        "event_type": event_type,
        "timestamp": "2025-01-31T13:45:00Z",
    }
    return {**fields, "duration": 42} if event_type == "call_ended" else fields


def bodies(count: int) -> list[bytes]:
    """Return `count` different bodies, call after call."""
    made = _bodies()
    return [next(made) for _ in range(count)]


def _bodies() -> Iterator[bytes]:
    number = 0
    while True:
        for event_type in STEPS:
            yield json.dumps(step(f"{number:012x}", event_type)).encode()
        number += 1

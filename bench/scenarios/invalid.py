"""Invalid events: a quarter of all events are refused with the right status."""

from collections.abc import Mapping
from random import choice
from typing import Any

from locust import task

from bench.harness.events import step
from bench.scenarios.base import Body, TelephonyServer, new_call

MALFORMED, INVALID = 400, 422


def refused(fields: dict[str, Any]) -> Mapping[str, tuple[Body, int]]:
    """Return a defect's name → a body with this defect, made of valid `fields`, and the expected status."""
    return {
        "negative duration": ({**fields, "duration": -1}, INVALID),
        "ended without duration": ({**fields, "event_type": "call_ended", "duration": None}, INVALID),
        "empty call id": ({**fields, "call_id": ""}, INVALID),
        "timestamp without offset": ({**fields, "timestamp": "2025-01-31 13:45:00"}, INVALID),
        "no number": ({name: value for name, value in fields.items() if name != "from_number"}, INVALID),
        "no object": ("[]", MALFORMED),
        "no JSON": ('{"call_id": ', MALFORMED),
    }


class ErringServer(TelephonyServer):
    scenario = "invalid"

    @task
    def make_call(self) -> None:
        self.call()

    @task
    def post_invalid_event(self) -> None:
        what, (body, status) = choice(list(refused(step(new_call(), "call_started")).items()))
        self.post(f"refused: {what}", body, status)

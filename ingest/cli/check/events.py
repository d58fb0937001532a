"""The events of `ingest check`, which are recognised by their call id and type."""

import json
import secrets
from datetime import UTC, datetime

EVENT_TYPE = "check"
PREFIX = "check-"


def new_run() -> str:
    """Return a name for the run: the prefix of its call ids."""
    return f"{PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def event_of(run: str, number: int) -> tuple[bytes, str]:
    """Return the body of an event, and its idempotency key."""
    key = f"{run}-{number}"
    body = {
        "call_id": key,
        "from_number": EVENT_TYPE,
        "to_number": EVENT_TYPE,
        "event_type": EVENT_TYPE,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    return json.dumps(body).encode(), key


def deletion(run: str) -> str:
    """Return the SQL that deletes the run's events from the table."""
    return f"DELETE FROM call_event_logs WHERE event_type = '{EVENT_TYPE}' AND call_id LIKE '{run}-%';"  # noqa: S608 - `run` is ours

"""The schemas, headers and example bodies of the OpenAPI document, as objects that JSON can encode."""

from typing import Any

import msgspec

from ingest import errors
from ingest.erasure.tombstone import EVENTS_ERASED
from ingest.events.call_event import CALL_ENDED
from ingest.events.field_errors import field_errors
from ingest.events.idempotency import KEY_CHARS_MAX
from ingest.http.responses import response_to

EXAMPLE = {
    "call_id": "a84b4c76e66710@pbx.example.com",
    "from_number": "+15551230001",
    "to_number": "+15551230002",
    "event_type": "call_ended",
    "timestamp": "2025-01-31T13:45:00Z",
    "duration": 42,
}
WRONG = {**EXAMPLE, "duration": -1}
ERRORS_OF_WRONG = field_errors(WRONG)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


TEXT = {"type": "string"}
ANY: dict[str, Any] = {}
_ERRORS = {"type": "object", "additionalProperties": {"type": "array", "items": TEXT}}
_COUNT = {"type": "integer", "minimum": 0}
_ITEM = _object(index=_COUNT, errors=_ERRORS)
_ITEM["properties"]["retry"] = {"const": True, "description": "The item was not stored; retry."}
_REJECTED = {"type": "array", "items": _ITEM}

MESSAGE = _object(message=TEXT)
STATUS_QUEUED = _object(status={"const": "queued"})
INVALID = {**_object(message=TEXT, errors=_ERRORS), "required": ["message"]}
BATCH_QUEUED = _object(status={"const": "queued"}, accepted=_COUNT, rejected=_REJECTED)
BATCH_INVALID = _object(message=TEXT, accepted={"const": 0}, rejected=_REJECTED)
ALIVE = _object(status={"const": "alive"})
_ENDED_HAS_DURATION = {
    "if": {"properties": {"event_type": {"const": CALL_ENDED}}, "required": ["event_type"]},
    "then": {"properties": {"duration": {"type": ["integer", "string"]}}, "required": ["duration"]},
}
ERASED_HAVE_IDS = {
    "if": {"properties": {"event_type": {"const": EVENTS_ERASED}}, "required": ["event_type"]},
    "then": {
        "properties": {
            "erased_ids": {
                "type": "array",
                "items": {"type": "string", "pattern": "^[0-9]{1,19}$"},
                "description": "Ids of events to erase, if the message has the header `erasure`",
            }
        }
    },
}
"""A tombstone of `ingest erase`."""
_DIGITS = {"type": "string", "pattern": "^ *[0-9]{1,9} *$", "description": "1 to 9 digits, as some clients send it"}


def of_events(schema: dict[str, Any]) -> dict[str, Any]:
    """Add what msgspec cannot say: the duration of a call's end, and durations in strings."""
    schema["properties"]["duration"]["anyOf"].insert(1, _DIGITS)
    return {**schema, "examples": [EXAMPLE], **_ENDED_HAS_DURATION}


ERROR_EXAMPLES: dict[str, Any] = {
    str(response.status): msgspec.json.decode(response.body)
    for response in map(
        response_to,
        (
            errors.Malformed(),
            errors.Unauthenticated(),
            errors.MethodNotAllowed("POST"),
            errors.BodyTimeout(),
            errors.BodyTooLarge(),
            errors.UnsupportedEncoding(),
            errors.RateLimited(1),
            errors.StoreUnavailable(),
            errors.Overloaded(),
        ),
    )
}
"""Status → the body that the service really sends."""
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A request that repeats a key gets the same response as before and is not stored again. "
    "A key has printable ASCII characters.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX, "pattern": "^[\\t -~]*[!-~][\\t -~]*$"},
}
HEADERS = {
    "415": {"Accept-Encoding": {"required": True, "schema": {"const": "gzip, zstd"}}},
    "401": {"WWW-Authenticate": {"required": True, "schema": TEXT}},
    "405": {"Allow": {"required": True, "schema": {"const": "POST"}}},
    "429": {"Retry-After": {"description": "Seconds.", "required": True, "schema": _COUNT}},
    "503": {"Retry-After": {"description": "Seconds.", "required": True, "schema": _COUNT}},
}

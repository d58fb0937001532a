"""The OpenAPI document, from the event's type: `GET /openapi.json`."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from ingest import __version__, errors
from ingest.events.event import CALL_ENDED, CallEvent, field_errors
from ingest.events.idempotency import KEY_CHARS_MAX
from ingest.http import batch_handler, event_handler
from ingest.http.responses import QUEUED, response_to
from ingest.settings import WELL_KNOWN_TOKEN
from ingest.status.health import Report
from ingest.status.snapshot import Status

EXAMPLE = {
    "call_id": "a84b4c76e66710@pbx.example.com",
    "from_number": "+15551230001",
    "to_number": "+15551230002",
    "event_type": "call_ended",
    "timestamp": "2025-01-31T13:45:00Z",
    "duration": 42,
}
_WRONG = {**EXAMPLE, "duration": -1}
_ERRORS_OF_WRONG = field_errors(_WRONG)
SERVER = "http://localhost:8000"
JSON, NDJSON, TEXT = "application/json", "application/x-ndjson", "text/plain"


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_TEXT = {"type": "string"}
_ERRORS = {"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}}
_COUNT = {"type": "integer", "minimum": 0}
_ITEM = _object(index=_COUNT, errors=_ERRORS)
_ITEM["properties"]["retry"] = {"const": True, "description": "The item was not kept: send the batch again."}
_REJECTED = {"type": "array", "items": _ITEM}

_MESSAGE = _object(message=_TEXT)
_QUEUED = _object(status={"const": "queued"})
_INVALID = {**_object(message=_TEXT, errors=_ERRORS), "required": ["message"]}
_BATCH_QUEUED = _object(status={"const": "queued"}, accepted=_COUNT, rejected=_REJECTED)
_BATCH_INVALID = _object(message=_TEXT, accepted={"const": 0}, rejected=_REJECTED)
_ALIVE = _object(status={"const": "alive"})
_ENDED_HAS_DURATION = {
    "if": {"properties": {"event_type": {"const": CALL_ENDED}}, "required": ["event_type"]},
    "then": {"properties": {"duration": {"type": "integer"}}, "required": ["duration"]},
}
_MORE_OF_EVENTS = {"examples": [EXAMPLE], **_ENDED_HAS_DURATION}
_REFUSALS = {
    "400": "The body is not JSON, not UTF-8, or nested too deep.",
    "401": "The token is missing or wrong.",
    "405": "The method is not POST.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The Content-Encoding is neither gzip nor zstd.",
    "429": "The token's rate is exceeded: send it again after Retry-After.",
    "500": "The event could not be made durable: send it again.",
    "503": "Overload, or the service is stopping: send it again after Retry-After.",
}
_EXAMPLES: dict[str, Any] = {
    str(answer.status): msgspec.json.decode(answer.body)
    for answer in map(
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
"""Status → body, as the service itself makes it."""
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A request with a key that was taken before is answered as then, and stored no second time.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX, "pattern": "^[\\t -~]*[!-~][\\t -~]*$"},
}
_WRONG_FIELDS = "Fields are wrong: `errors` tells which. Or the Idempotency-Key was used with another event."
_COMPRESSED = "The body may be compressed: `Content-Encoding: gzip` or `zstd`."
_HEADERS = {
    "415": {"Accept-Encoding": {"required": True, "schema": {"const": "gzip, zstd"}}},
    "401": {"WWW-Authenticate": {"required": True, "schema": _TEXT}},
    "405": {"Allow": {"required": True, "schema": {"const": "POST"}}},
    "429": {"Retry-After": {"description": "Seconds.", "required": True, "schema": _COUNT}},
    "503": {"Retry-After": {"description": "Seconds.", "required": True, "schema": _COUNT}},
}


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1, as JSON-ready objects."""
    (event, report, status), components = msgspec.json.schema_components(
        [CallEvent, Report, Status], ref_template="#/components/schemas/{name}"
    )
    components["CallEvent"] |= _MORE_OF_EVENTS
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Call Events Service",
            "version": __version__,
            "description": "Takes call events: 200 means durable in the database, and on its way to the queue.",
        },
        "paths": {
            event_handler.PATH: {"post": _single(event)},
            batch_handler.PATH: {"post": _batch(event)},
            "/healthz": _get("/healthz", "The process is alive.", JSON, _ALIVE),
            "/readyz": _get("/readyz", "Whether events are taken, and what is wrong if not.", JSON, report, "503"),
            "/status.json": _get("/status.json", "What the status page shows, of all workers.", JSON, status),
            "/metrics": _get("/metrics", "Metrics of all workers, for Prometheus.", TEXT, _TEXT),
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-API-TOKEN"}},
        },
    }


def _single(event: Any) -> dict[str, Any]:
    return _post(
        event_handler.PATH,
        "Take one event.",
        {JSON: {"schema": event, "example": EXAMPLE}},
        _response("The event is durable.", _QUEUED, example=msgspec.json.decode(QUEUED.body)),
        _response(
            "Fields are wrong: `errors` tells which. Or the Idempotency-Key was used with another event.",
            _INVALID,
            example=_invalid(errors=_ERRORS_OF_WRONG),
        ),
    )


def _batch(event: Any) -> dict[str, Any]:
    array = {"type": "array", "items": event, "minItems": 1}
    rejected = [{"index": 1, "errors": _ERRORS_OF_WRONG}]
    return _post(
        batch_handler.PATH,
        "Take many events: a JSON array or NDJSON.",
        {
            JSON: {"schema": array, "example": [EXAMPLE]},
            NDJSON: {"schema": _TEXT, "example": json.dumps(EXAMPLE) + "\n" + json.dumps(_WRONG)},
        },
        _response(
            "All that is accepted is durable.",
            _BATCH_QUEUED,
            example={"status": "queued", "accepted": 1, "rejected": rejected},
        ),
        _response(
            "No event is valid.",
            _BATCH_INVALID,
            example=_invalid(accepted=0, rejected=[{"index": 0, "errors": _ERRORS_OF_WRONG}]),
        ),
    )


def _invalid(**more: Any) -> dict[str, Any]:
    return {"message": str(errors.Invalid({})), **more}


def _post(path: str, summary: str, bodies: Mapping[str, Any], queued: Any, invalid: Any) -> dict[str, Any]:
    responses = {"200": queued, "422": invalid}
    responses |= {status: _response(text, _MESSAGE, example=_EXAMPLES[status]) for status, text in _REFUSALS.items()}
    for status, headers in _HEADERS.items():
        responses[status]["headers"] = headers
    return {
        "summary": summary,
        "description": _COMPRESSED,
        "security": [{"token": []}],
        "parameters": [_KEY],
        "requestBody": {"required": True, "content": bodies},
        "responses": dict(sorted(responses.items())),
        **_sample(f"-H 'X-API-TOKEN: {WELL_KNOWN_TOKEN}' {SERVER}{path} -d '{json.dumps(bodies[JSON]['example'])}'"),
    }


def _get(path: str, summary: str, kind: str, schema: Any, *further: str) -> dict[str, Any]:
    return {
        "get": {
            "summary": summary,
            "responses": {status: _response(summary, schema, kind) for status in ("200", *further)},
            **_sample(SERVER + path),
        }
    }


def _sample(arguments: str) -> dict[str, Any]:
    """As the tools know it that show OpenAPI documents."""
    return {"x-codeSamples": [{"lang": "sh", "label": "curl", "source": f"curl {arguments}"}]}


def _response(description: str, schema: Any, kind: str = JSON, example: Any = None) -> dict[str, Any]:
    media = {"schema": schema} if example is None else {"schema": schema, "example": example}
    return {"description": description, "content": {kind: media}}


def message_schema() -> dict[str, Any]:
    """JSON Schema of a message's body, as docs/message.schema.json has it."""
    (event,), components = msgspec.json.schema_components([CallEvent], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Body of a message of the queue call-events",
        "$defs": {"CallEvent": components["CallEvent"] | _MORE_OF_EVENTS},
        **event,
    }

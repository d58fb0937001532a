"""The OpenAPI document, from the event's type: `GET /openapi.json`."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from ingest import __version__, batch_endpoint, endpoint
from ingest.events import CALL_ENDED, CallEvent
from ingest.health import Report

EXAMPLE = {
    "call_id": "a84b4c76e66710@pbx.example.com",
    "from_number": "+15551230001",
    "to_number": "+15551230002",
    "event_type": "call_ended",
    "timestamp": "2025-01-31T13:45:00Z",
    "duration": 42,
}
JSON, NDJSON, TEXT = "application/json", "application/x-ndjson", "text/plain"


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_TEXT = {"type": "string"}
_ERRORS = {"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}}
_COUNT = {"type": "integer", "minimum": 0}
_REJECTED = {"type": "array", "items": _object(index=_COUNT, errors=_ERRORS)}

_MESSAGE = _object(message=_TEXT)
_QUEUED = _object(status={"const": "queued"})
_INVALID = _object(message=_TEXT, errors=_ERRORS)
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
    (event, report), components = msgspec.json.schema_components(
        [CallEvent, Report], ref_template="#/components/schemas/{name}"
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
            endpoint.PATH: {"post": _post("Take one event.", {JSON: event}, _QUEUED, _INVALID)},
            batch_endpoint.PATH: {
                "post": _post(
                    "Take many events: a JSON array or NDJSON.",
                    {JSON: {"type": "array", "items": event, "minItems": 1}, NDJSON: {"type": "string"}},
                    _BATCH_QUEUED,
                    _BATCH_INVALID,
                )
            },
            "/healthz": _get("The process is alive.", JSON, _ALIVE),
            "/readyz": _get("Whether events are taken, and what is wrong if not.", JSON, report, "503"),
            "/metrics": _get("Metrics of all workers, for Prometheus.", TEXT, _TEXT),
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-API-TOKEN"}},
        },
    }


def _post(summary: str, bodies: Mapping[str, Any], queued: Any, invalid: Any) -> dict[str, Any]:
    responses = {
        "200": _response("All that is accepted is durable.", queued),
        "422": _response("No event is valid.", invalid),
    }
    responses |= {status: _response(text, _MESSAGE) for status, text in _REFUSALS.items()}
    for status, headers in _HEADERS.items():
        responses[status]["headers"] = headers
    return {
        "summary": summary,
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": {kind: {"schema": schema} for kind, schema in bodies.items()}},
        "responses": responses,
    }


def _get(summary: str, kind: str, schema: Any, *further: str) -> dict[str, Any]:
    return {
        "get": {
            "summary": summary,
            "responses": {status: _response(summary, schema, kind) for status in ("200", *further)},
        }
    }


def _response(description: str, schema: Any, kind: str = JSON) -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": schema}}}


def message_schema() -> dict[str, Any]:
    """JSON Schema of a message's body, as docs/message.schema.json has it."""
    (event,), components = msgspec.json.schema_components([CallEvent], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Body of a message of the queue call-events",
        "$defs": {"CallEvent": components["CallEvent"] | _MORE_OF_EVENTS},
        **event,
    }

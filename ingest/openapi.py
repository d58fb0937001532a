"""The OpenAPI document, from the event's type: `GET /openapi.json`."""

from functools import cache
from typing import Any

import msgspec

from ingest import __version__, batch_endpoint, endpoint
from ingest.events import CallEvent

EXAMPLE = {
    "call_id": "a84b4c76e66710@pbx.example.com",
    "from_number": "+15551230001",
    "to_number": "+15551230002",
    "event_type": "call_ended",
    "timestamp": "2025-01-31T13:45:00Z",
    "duration": 42,
}
_MESSAGE = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
_ERRORS = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
_INVALID = {
    "type": "object",
    "properties": {"message": {"type": "string"}, "errors": _ERRORS},
    "required": ["message"],
}
_REFUSALS = {
    "400": "The body is not JSON, not UTF-8, or nested too deep.",
    "401": "The token is missing or wrong.",
    "405": "The method is not POST.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The Content-Encoding is not supported.",
    "500": "The event could not be made durable: send it again.",
    "503": "Overload, or the service is stopping: send it again after Retry-After.",
}


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1, as JSON-ready objects."""
    (event,), components = msgspec.json.schema_components([CallEvent], ref_template="#/components/schemas/{name}")
    components["CallEvent"]["examples"] = [EXAMPLE]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Call Events Service",
            "version": __version__,
            "description": "Takes call events: 200 means durable in the database, and on its way to the queue.",
        },
        "paths": {
            endpoint.PATH: {"post": _post("Take one event.", event, _answer_schema(), "application/json")},
            batch_endpoint.PATH: {
                "post": _post(
                    "Take many events: a JSON array or NDJSON.",
                    {"type": "array", "items": event},
                    _batch_answer_schema(),
                    "application/json",
                )
            },
            "/healthz": _get("The process is alive."),
            "/readyz": _get("Whether events are taken, and what is wrong if not."),
            "/metrics": _get("Metrics of all workers, for Prometheus."),
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-API-TOKEN"}},
        },
    }


def _post(summary: str, body: Any, answer: Any, content_type: str) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": _response("All durable.", answer), "422": _response("Invalid.", _INVALID)}
    responses |= {status: _response(text, _MESSAGE) for status, text in _REFUSALS.items()}
    return {
        "summary": summary,
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": {content_type: {"schema": body}}},
        "responses": responses,
    }


def _get(summary: str) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": {"200": {"description": summary}}}}


def _response(description: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _answer_schema() -> dict[str, Any]:
    return {"type": "object", "properties": {"status": {"const": "queued"}}, "required": ["status"]}


def _batch_answer_schema() -> dict[str, Any]:
    rejected = {"type": "object", "properties": {"index": {"type": "integer"}, "errors": _ERRORS}}
    properties = {
        "status": {"const": "queued"},
        "accepted": {"type": "integer"},
        "rejected": {"type": "array", "items": rejected},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}

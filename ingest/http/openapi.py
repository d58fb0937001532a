"""The OpenAPI document of `GET /openapi.json`, derived from the types of the event and of the responses."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlencode

import msgspec

from ingest import __version__, errors
from ingest.events.call_event import CallEvent
from ingest.http import batch_handler, event_handler
from ingest.http import openapi_schemas as schemas
from ingest.http.reading import openapi as reading
from ingest.http.responses import QUEUED
from ingest.settings import WELL_KNOWN_TOKEN
from ingest.status.health import Report
from ingest.status.snapshot import Status

SERVER = "http://localhost:8000"
SOURCE_PATH = "/in/{source}"
JSON, NDJSON, TEXT, XML = "application/json", "application/x-ndjson", "text/plain", "application/xml"
FORM = "application/x-www-form-urlencoded"

_REFUSALS = {
    "400": "The body is not JSON, is not UTF-8, or is nested too deeply.",
    "401": "The token is missing or wrong.",
    "405": "The method is not POST.",
    "408": "The body did not arrive in time.",
    "413": "The body is larger than the limit.",
    "415": "The Content-Encoding is neither gzip nor zstd.",
    "429": "The rate limit of the token is exceeded; retry after the seconds of Retry-After.",
    "500": "The event could not be made durable; retry.",
    "503": "The service is overloaded or stopping; retry after the seconds of Retry-After.",
}
_UNKNOWN_SOURCE = "No telephony server has this name."
_WRONG_FIELDS = "Fields are invalid (see `errors`), or the Idempotency-Key was used with another event."
_COMPRESSED = "The body may be compressed: `Content-Encoding: gzip` or `zstd`."


@cache
def document(sources: tuple[str, ...] = (), events_url: str = "") -> dict[str, Any]:
    """OpenAPI 3.1, as objects that JSON can encode.

    `sources` are the names of the telephony servers in `/in/{source}`. `events_url` is the URL for events with a
    variable `{host}`. It is empty if this document comes from the same URL.
    """
    (event, report, status, *read), components = msgspec.json.schema_components(
        [CallEvent, Report, Status, *reading.TYPES], ref_template="#/components/schemas/{name}"
    )
    components["CallEvent"] = schemas.of_events(components["CallEvent"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Call Events Service",
            "version": __version__,
            "description": "Accepts call events. Status 200 means that the event is durable and will be published.",
        },
        **({"servers": [_server(events_url)]} if events_url else {}),
        "paths": {
            event_handler.PATH: {"post": _single(event)},
            batch_handler.PATH: {"post": _batch(event)},
            **({SOURCE_PATH: {"post": _source(sources)}} if sources else {}),
            **reading.paths(SERVER, dict(zip(reading.TYPES, read, strict=True))),
            "/healthz": _get("/healthz", "The process is alive.", JSON, schemas.ALIVE),
            "/readyz": _get("/readyz", "Readiness to accept events, and its checks.", JSON, report, "503"),
            "/status.json": _get("/status.json", "The figures of the status page, for all workers.", JSON, status),
            "/metrics": _get("/metrics", "Metrics of all workers, in the format of Prometheus.", TEXT, schemas.TEXT),
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-API-TOKEN"}},
        },
    }


def _single(event: Any) -> dict[str, Any]:
    return _post(
        event_handler.PATH,
        "Accept one event.",
        {JSON: {"schema": event, "example": schemas.EXAMPLE}},
        _response("The event is durable.", schemas.STATUS_QUEUED, example=msgspec.json.decode(QUEUED.body)),
        _response(
            _WRONG_FIELDS,
            schemas.INVALID,
            example=_invalid(errors=schemas.ERRORS_OF_WRONG),
        ),
    )


def _batch(event: Any) -> dict[str, Any]:
    array = {"type": "array", "items": event, "minItems": 1}
    rejected = [{"index": 1, "errors": schemas.ERRORS_OF_WRONG}]
    return _post(
        batch_handler.PATH,
        "Accept many events: a JSON array or NDJSON.",
        {
            JSON: {"schema": array, "example": [schemas.EXAMPLE]},
            NDJSON: {"schema": schemas.TEXT, "example": json.dumps(schemas.EXAMPLE) + "\n" + json.dumps(schemas.WRONG)},
        },
        _response(
            "All accepted events are durable.",
            schemas.BATCH_QUEUED,
            example={"status": "queued", "accepted": 1, "rejected": rejected},
        ),
        _response(
            "No event is valid.",
            schemas.BATCH_INVALID,
            example=_invalid(accepted=0, rejected=[{"index": 0, "errors": schemas.ERRORS_OF_WRONG}]),
        ),
    )


def _source(names: tuple[str, ...]) -> dict[str, Any]:
    name = {"name": "source", "in": "path", "required": True, "schema": {"enum": list(names)}}
    form = urlencode(schemas.EXAMPLE)
    described = _post(
        SOURCE_PATH,
        "Accept one event from a telephony server, in its own format.",
        {JSON: {"schema": schemas.ANY, "example": schemas.EXAMPLE}, FORM: {"schema": schemas.ANY, "example": form}},
        _response("The event is durable. The body is the one that the telephony server expects.", schemas.ANY),
        _response(_WRONG_FIELDS, schemas.INVALID, example=_invalid(errors=schemas.ERRORS_OF_WRONG)),
        description="A server that sets no header may send the token in the path (`/in/{source}/TOKEN`), in the query "
        "(`?token=TOKEN`) or as the password of Basic authentication. `ingest clients list` describes the sources.",
    )
    responses = described["responses"]
    responses["200"]["content"] = {JSON: {"schema": schemas.ANY}, XML: {"schema": schemas.TEXT}}
    responses["204"] = {"description": "The event is durable. This telephony server expects no body."}
    responses["404"] = _response(_UNKNOWN_SOURCE, schemas.MESSAGE, example={"message": _UNKNOWN_SOURCE})
    described["parameters"] = [{**name, "description": "The telephony server."}, schemas.KEY]
    return {**described, "responses": dict(sorted(responses.items()))}


def _server(events_url: str) -> dict[str, Any]:
    return {"url": events_url, "variables": {"host": {"default": "localhost", "description": "This service's host."}}}


def _invalid(**more: Any) -> dict[str, Any]:
    return {"message": str(errors.Invalid({})), **more}


def _post(
    path: str, summary: str, bodies: Mapping[str, Any], queued: Any, invalid: Any, description: str = _COMPRESSED
) -> dict[str, Any]:
    url = SERVER + path.format(source="asterisk")
    responses = {"200": queued, "422": invalid}
    for status, text in _REFUSALS.items():
        responses[status] = _response(text, schemas.MESSAGE, example=schemas.ERROR_EXAMPLES[status])
    for status, headers in schemas.HEADERS.items():
        responses[status]["headers"] = headers
    return {
        "summary": summary,
        "description": description,
        "security": [{"token": []}],
        "parameters": [schemas.KEY],
        "requestBody": {"required": True, "content": bodies},
        "responses": dict(sorted(responses.items())),
        **_sample(f"-H 'X-API-TOKEN: {WELL_KNOWN_TOKEN}' {url} -d '{json.dumps(bodies[JSON]['example'])}'"),
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
    """The extension that viewers of OpenAPI documents support."""
    return {"x-codeSamples": [{"lang": "sh", "label": "curl", "source": f"curl {arguments}"}]}


def _response(description: str, schema: Any, kind: str = JSON, example: Any = None) -> dict[str, Any]:
    media = {"schema": schema} if example is None else {"schema": schema, "example": example}
    return {"description": description, "content": {kind: media}}


def message_schema() -> dict[str, Any]:
    """The JSON Schema of a message's body; docs/message.schema.json is a copy."""
    (event,), components = msgspec.json.schema_components([CallEvent], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Body of a message of the queue call-events",
        "$defs": {"CallEvent": schemas.of_events(components["CallEvent"])},
        **event,
        **schemas.ERASED_HAVE_IDS,
    }

"""The part of the OpenAPI document about stored events, derived from the types of the answers."""

from collections.abc import Mapping
from typing import Any

from ingest.events.ids import ID_MAX
from ingest.http.reading import api, query
from ingest.http.reading.answers import (
    ChangeResult,
    DeadLetterList,
    EventDetails,
    EventList,
    RefusalList,
    ResendResult,
)
from ingest.reading.base import ROWS_MAX

TYPES = (EventList, EventDetails, ResendResult, DeadLetterList, ChangeResult, RefusalList)
JSON = "application/json"
TOKEN = "TOKEN"  # noqa: S105 - a placeholder
EXAMPLE_ID = "16677181699666569"

_TEXT = {"type": "string"}
_MESSAGE = {"type": "object", "properties": {"message": _TEXT}, "required": ["message"]}
_REFUSALS = {
    "400": "The query is wrong.",
    "401": "The token is missing or wrong.",
    "403": "The token has another scope.",
    "404": "There is no such event or dead letter.",
    "405": "This path allows another method.",
    "503": "The database did not answer in time; choose a shorter time, or retry.",
}
_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The id of the event, which is the `message_id` of its message.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,19}$"},
    "example": EXAMPLE_ID,
}


def _field(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": dict(schema)}


def _text(characters_max: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": characters_max}


_TIME = {"type": "string", "format": "date-time"}
_CURSOR = _field("cursor", "`next` of the page before.", {"type": "integer", "minimum": 1, "maximum": ID_MAX})


def _limit(most: int, default: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return _field("limit", "Most entries of the page.", schema)


_FILTERS = [
    _field("call", "Events of this call, oldest first. Without it the newest come first.", _text(255)),
    _field("type", "Events of this type. It needs `call` or `since`.", _text(64)),
    _field("since", "Events accepted at or after this time.", _TIME),
    _field("until", "Events accepted before this time.", _TIME),
]


def paths(server: str, schemas: Mapping[type, Any]) -> dict[str, Any]:
    """Return the paths. `schemas` has a reference for each of `TYPES`."""

    def operation(method: str, path: str, scope: str, summary: str, kind: type, *fields: Any) -> dict[str, Any]:
        url = server + path.format(id=EXAMPLE_ID)
        given = "-X POST " if method == "post" else ""
        done = {"description": summary, "content": {JSON: {"schema": schemas[kind]}}}
        refused = {status: _refusal(status, text) for status, text in _REFUSALS.items()}
        return {
            method: {
                "summary": summary,
                "description": f"The token needs the scope `{scope}`.",
                "security": [{"token": []}],
                "servers": [{"url": "/"}],  # this document's own address, which may be another one than that for events
                "parameters": list(fields),
                "responses": {"200": done, **refused},
                "x-codeSamples": [
                    {"lang": "sh", "label": "curl", "source": f"curl {given}-H 'X-API-TOKEN: {TOKEN}' {url}"}
                ],
            }
        }

    events, dead = api.EVENTS, api.DEAD_LETTERS
    events_limit = _limit(ROWS_MAX, query.LIMIT_DEFAULT)
    dead_limit = _limit(query.DEAD_LETTERS_MAX, query.DEAD_LETTERS_MAX)
    entries = {
        events: operation("get", events, "read", "List events.", EventList, *_FILTERS, events_limit, _CURSOR),
        f"{events}/{{id}}": operation(
            "get", f"{events}/{{id}}", "read", "Show an event, and where it is.", EventDetails, _ID
        ),
        f"{events}/{{id}}/{api.RESEND}": operation(
            "post", f"{events}/{{id}}/{api.RESEND}", "operate", "Publish an event once more.", ResendResult, _ID
        ),
        dead: operation(
            "get", dead, "operate", "List dead letters, oldest first.", DeadLetterList, dead_limit, _CURSOR
        ),
        f"{dead}/{{id}}/{api.RETRY}": operation(
            "post", f"{dead}/{{id}}/{api.RETRY}", "operate", "Publish a dead letter.", ChangeResult, _ID
        ),
        f"{dead}/{{id}}/{api.DROP}": operation(
            "post", f"{dead}/{{id}}/{api.DROP}", "operate", "Remove a dead letter; its row stays.", ChangeResult, _ID
        ),
    }
    summary = f"List the refused requests of the last {api.REFUSED_HOURS} hours, by client."
    return entries | {api.REFUSALS: operation("get", api.REFUSALS, "read", summary, RefusalList)}


def _refusal(status: str, text: str) -> dict[str, Any]:
    header = {"401": "WWW-Authenticate", "405": "Allow", "503": "Retry-After"}.get(status)
    described = {"description": text, "content": {JSON: {"schema": _MESSAGE}}}
    return described | ({"headers": {header: {"required": True, "schema": _TEXT}}} if header else {})

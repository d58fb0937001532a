"""Answers requests about stored events and dead letters. It knows scopes, and nothing of the web framework."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from ingest.audit.trail import Action, Actor, AuditTrail
from ingest.auth.authenticator import Authenticator
from ingest.auth.readers import Reader, Readers
from ingest.auth.scopes import OPERATE, READ, READ_NUMBERS
from ingest.errors import StoreError
from ingest.http.reading.answers import (
    ChangeResult,
    RefusalList,
    ResendResult,
    dead_letter_list,
    event_details,
    event_list,
)
from ingest.http.reading.query import BadQuery, event_id_of, fields_of, page_of, search_of
from ingest.outbox.dead_letters import DeadLetterTable
from ingest.reading.base import EventLookup
from ingest.reading.events import Events
from ingest.status.snapshot import RefusedClient
from ingest.telemetry.logs import mask_text

log = logging.getLogger("ingest.reading")

EVENTS, DEAD_LETTERS, REFUSALS = "/api/events", "/api/dead-letters", "/api/refusals"
RESEND, RETRY, DROP = "resend", "retry", "drop"
REFUSED_HOURS = 6
NO_EVENT = "No event has this id in the database. It may wait in a spool; see `ingest events show`."
NO_DEAD_LETTER = "No dead letter has this id."
UNAUTHENTICATED = "Unauthenticated. Send a token of scope {} in X-API-TOKEN; see `ingest tokens create --scope`."
RETRY_SECONDS = "1"


class ReadTable(EventLookup, DeadLetterTable, Protocol):
    pass


class ApiRequest(msgspec.Struct, frozen=True):
    """`address` is the client's, for the audit trail."""

    method: str
    path: str
    query: str = ""
    token: str | None = None
    address: str = ""


class Answer(msgspec.Struct, frozen=True):
    """`content` becomes JSON."""

    status: int
    content: Any
    headers: Mapping[str, str] = {}


class _Route(msgspec.Struct, frozen=True):
    method: str
    scope: str
    handle: Callable[[ApiRequest, Reader], Awaitable[Answer]]


class ReadingApi:
    def __init__(
        self,
        readers: Readers,
        authenticator: Authenticator,
        table: ReadTable,
        trail: AuditTrail,
        refused: Callable[[int], list[RefusedClient]],
    ) -> None:
        """`refused` returns the refused clients of that many hours, of all workers of this node."""
        self._readers = readers
        self._authenticator = authenticator
        self._table = table
        self._events = Events(table, trail)
        self._trail = trail
        self._refused = refused

    def serves(self, path: str) -> bool:
        return any(path == root or path.startswith(f"{root}/") for root in (EVENTS, DEAD_LETTERS, REFUSALS))

    async def answer(self, request: ApiRequest) -> Answer:
        """Answer any request; `serves` must be true of its path."""
        route = self._route(request.path)
        if route is None:
            return _refusal(404, "Not found; see /docs.")
        if request.method != route.method:
            return _refusal(405, "This path does not allow the method.", {"allow": route.method})
        reader = self._reader(route.scope, request.token)
        if isinstance(reader, Answer):
            return reader
        try:
            return await route.handle(request, reader)
        except BadQuery as exc:
            return _refusal(400, str(exc))
        except StoreError as exc:
            log.info("a search or change failed", extra={"reason": str(exc), "reader": reader.name})
            return _refusal(503, mask_text(str(exc)), {"retry-after": RETRY_SECONDS})

    def _reader(self, scope: str, token: str | None) -> Reader | Answer:
        """Return who asks, or the refusal."""
        reader = self._readers.reader_of(token)
        if reader and scope in reader.scopes:
            return reader
        if reader or self._authenticator.client_of(token):
            return _refusal(403, f"The token does not have the scope {scope}.")
        return _refusal(401, UNAUTHENTICATED.format(scope), {"www-authenticate": 'Token realm="call-events"'})

    def _route(self, path: str) -> _Route | None:
        if path in self._roots():
            return self._roots()[path]
        parts = path.split("/")
        if len(parts) not in (4, 5) or event_id_of(parts[3]) is None:
            return None
        root, act = "/".join(parts[:3]), parts[4] if len(parts) == 5 else ""
        return {
            (EVENTS, ""): _Route("GET", READ, self._show),
            (EVENTS, RESEND): _Route("POST", OPERATE, self._resend),
            (DEAD_LETTERS, RETRY): _Route("POST", OPERATE, self._retry),
            (DEAD_LETTERS, DROP): _Route("POST", OPERATE, self._drop),
        }.get((root, act))

    def _roots(self) -> Mapping[str, _Route]:
        return {
            EVENTS: _Route("GET", READ, self._list),
            DEAD_LETTERS: _Route("GET", OPERATE, self._list_dead),
            REFUSALS: _Route("GET", READ, self._list_refused),
        }

    async def _list(self, request: ApiRequest, reader: Reader) -> Answer:
        search = search_of(request.query)
        page = await self._table.find_events(search.query, search.limit)
        return Answer(200, event_list(page, numbers=READ_NUMBERS in reader.scopes))

    async def _show(self, request: ApiRequest, reader: Reader) -> Answer:
        fields_of(request.query, ())
        found = await self._events.find(_id_in(request))
        if found is None:
            return _refusal(404, NO_EVENT)
        return Answer(200, event_details(found, numbers=READ_NUMBERS in reader.scopes))

    async def _resend(self, request: ApiRequest, reader: Reader) -> Answer:
        event_id = _id_in(request)
        outcome = (await self._events.resend(_actor(request, reader), [event_id]))[event_id]
        if outcome == "unknown":
            return _refusal(404, NO_EVENT)
        return Answer(200, ResendResult(str(event_id), outcome))

    async def _list_dead(self, request: ApiRequest, reader: Reader) -> Answer:
        after_id, limit = page_of(request.query)
        letters = await self._table.dead_letters(after_id, limit)
        return Answer(200, dead_letter_list(letters, await self._table.count_dead(), limit))

    async def _list_refused(self, request: ApiRequest, reader: Reader) -> Answer:
        fields_of(request.query, ())
        refused = await asyncio.to_thread(self._refused, REFUSED_HOURS)  # it reads files
        return Answer(200, RefusalList(refused, REFUSED_HOURS))

    async def _retry(self, request: ApiRequest, reader: Reader) -> Answer:
        return await self._change(request, reader, "dead.retry", self._table.requeue_dead)

    async def _drop(self, request: ApiRequest, reader: Reader) -> Answer:
        return await self._change(request, reader, "dead.drop", self._table.drop_dead)

    async def _change(
        self, request: ApiRequest, reader: Reader, action: Action, change: Callable[[list[int]], Awaitable[int]]
    ) -> Answer:
        event_id = _id_in(request)
        letters = await self._table.dead_letters(event_id - 1, 1)
        if not letters or letters[0].event_id != event_id:
            return _refusal(404, NO_DEAD_LETTER)
        await self._trail.record_ids(_actor(request, reader), action, [event_id])
        done = await change([event_id])
        return Answer(200, ChangeResult(str(event_id), bool(done)))


def _actor(request: ApiRequest, reader: Reader) -> Actor:
    return Actor(f"token:{reader.name}", request.address)


def _id_in(request: ApiRequest) -> int:
    return int(request.path.split("/")[3])


def _refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, {"message": message}, headers or {})

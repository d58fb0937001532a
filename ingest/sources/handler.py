"""`POST /in/<source>[/<token>]`: translates what a telephony server posts into an event, and queues it."""

import asyncio
import base64
import binascii
import html
from collections import Counter
from collections.abc import Callable, Mapping
from urllib.parse import unquote

import msgspec

from ingest.auth.authenticator import Client
from ingest.errors import IngestError, Invalid, Malformed, Unauthenticated, UnknownSource
from ingest.events.event import Event, decode
from ingest.events.headers import CLIENT, MessageHeaders
from ingest.events.idempotency import HEADER as KEY_HEADER
from ingest.http.admission import Admission
from ingest.http.body_reader import BodyReader
from ingest.http.responses import JSON, QUEUED, Response
from ingest.http.rsgi import Headers, HttpProtocol, Scope
from ingest.pipeline.batcher import Batcher
from ingest.pipeline.outcomes import Failures, failure_of
from ingest.sources.base import Posted, Translated
from ingest.sources.bodies import query_value
from ingest.sources.flat import FlatMapper
from ingest.sources.form import Answer, Form
from ingest.sources.mapping import Mapper
from ingest.sources.signatures import Verifier
from ingest.sources.values import UNCHANGED
from ingest.telemetry.labels import Adaptation

PREFIX = "/in/"
CHALLENGE = ("www-authenticate", 'Basic realm="call-events"')
"""Sources that cannot set a header understand this challenge. Some send no password before they receive it."""

NAME_CHARS_MAX = 32

CountAdapted = Callable[[str, Adaptation], object]
"""Counts one event of a source that was changed for this reason."""

_encode = msgspec.json.Encoder().encode


class Source(msgspec.Struct, frozen=True):
    """One kind of telephony server. `verifier` is None if its requests need no signature."""

    name: str
    form: Form
    mapper: Mapper
    flat: FlatMapper | None
    """A shorter way than `mapper` for most bodies, if the form allows one."""
    verifier: Verifier | None


class SourceHandler:
    """Responds with the answer that the source expects."""

    def __init__(
        self,
        admission: Admission,
        bodies: BodyReader,
        batcher: Batcher,
        sources: Mapping[str, Source],
        public_url: str,
        body_bytes_max: int,
        count_adapted: CountAdapted,
        *,
        names_client: bool = False,
        accepted: Counter[str] | None = None,
    ) -> None:
        """`public_url` is the URL at which sources reach this service if a proxy stands before it, else empty.

        `names_client`: messages have a header with the name of the source. `accepted` counts events by source.
        """
        self.admission = admission
        self.bodies = bodies
        self.batcher = batcher
        self.sources = sources
        self.count_adapted = count_adapted
        self._public_url = public_url.rstrip("/")
        self._body_bytes_max = body_bytes_max
        self.accepted = Counter() if accepted is None else accepted
        self._names_client = names_client
        self._message_headers: dict[tuple[str, str], MessageHeaders] = {}

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        delivery = self.deliver(scope)
        try:
            headers, _ = delivery.admit()
            event, group = delivery.submit(await self.bodies.read(protocol, headers, self._body_bytes_max))
            if failure := await failure_of(event, await group):
                raise failure
            response = delivery.accepted()
            self.admission.count_response("client", response.status)
        except Exception as exc:
            error = exc if isinstance(exc, IngestError) else self.admission.unforeseen(exc)
            response = delivery.refused(error)
            if self.admission.delays(error):
                await self.admission.delay()
        response.send(protocol)

    def deliver(self, scope: Scope) -> "Delivery":
        """Begin a request, whose body has not come."""
        return Delivery(self, scope)

    def message_headers(self, client: Client, source: str) -> MessageHeaders | None:
        """The headers of every message of this client by this source. Both names are the operator's, so few."""
        if not self._names_client:
            return client.message_headers
        made = self._message_headers.get((client.name, source))
        if made is None:
            made = self._message_headers[client.name, source] = {**(client.message_headers or {}), CLIENT: source}
        return made

    def url_of(self, scope: Scope) -> str:
        query = f"?{scope.query_string}" if scope.query_string else ""
        host = scope.authority or scope.headers.get("host", "")
        return f"{self._public_url or f'{scope.scheme}://{host}'}{scope.path}{query}"


class Delivery:
    """One request of a source: `admit`, then `submit`, then one of `accepted` and `refused`."""

    def __init__(self, handler: SourceHandler, scope: Scope) -> None:
        self._handler = handler
        self._scope = scope
        self._name, _, token = scope.path.removeprefix(PREFIX).partition("/")
        self._token = (token and unquote(token.rstrip("/"))) or _token_of(scope)
        self._source = handler.sources.get(self._name)
        self._reasons = UNCHANGED

    @property
    def repeats_its_head(self) -> bool:
        """Return True if the next request of this source may have the same head."""
        form = self._source and self._source.form
        return bool(form and not (self._scope.query_string or form.signature or form.key_headers))

    def admit(self) -> tuple[Headers, Client]:
        """Check the head of the request. Raises `Rejected` or `Draining`."""
        if self._source is None:
            known = ", ".join(sorted(self._handler.sources))
            raise UnknownSource(f"There is no source {self._name[:NAME_CHARS_MAX]!r}. Known sources: {known}.")
        self._headers, self._client = self._handler.admission.admit(self._scope, self._token)
        return self._headers, self._client

    def submit(self, body: bytes) -> "tuple[Event, asyncio.Future[Failures | None]]":
        """Translate and queue the event. Return it with the outcome of its group (`EventQueue.submit`).

        Raises `Rejected`, `Overloaded` and `StoreUnavailable`.
        """
        handler, headers, client, source = self._handler, self._headers, self._client, self._source
        assert source, "it was admitted"  # noqa: S101 - a programming error
        if source.verifier and not source.verifier.is_signed(self._posted(body)):
            raise Unauthenticated("The signature is missing or wrong.")
        flat = source.flat.event(body) if source.flat else None
        if flat:
            event, has_time = flat.event, flat.has_time
        else:
            translated = source.mapper.translate(self._posted(body))
            event, has_time, self._reasons = event_of(translated), translated.has_time, translated.reasons
        if client.bucket:
            client.bucket.take(1)
        event.key = self._key(source.form, body, event, has_time=has_time)
        of_client = handler.message_headers(client, self._name)
        event.headers = handler.admission.propagate_trace_context(headers, of_client)
        return event, handler.batcher.submit(event)

    def accepted(self) -> Response:
        """Count the event, which is durable. Return the response that the source expects, for the caller to count."""
        assert self._source, "it was admitted"  # noqa: S101 - a programming error
        self._client.events += 1
        self._handler.accepted[self._name] += 1
        for reason in self._reasons:
            self._handler.count_adapted(self._name, reason)
        return self._answer(self._source.form.answer)

    def refused(self, error: IngestError) -> Response:
        """Count and log the refusal, and return its response."""
        known = self._name if self._source else "?"  # it may be a token
        response = self._handler.admission.refusal(error, "client", self._scope, (PREFIX + known, self._token))
        return response.having(CHALLENGE) if isinstance(error, Unauthenticated) else response

    def _posted(self, body: bytes) -> Posted:
        return Posted(self._handler.url_of(self._scope), self._scope.query_string, self._headers, body)

    def _answer(self, answer: Answer) -> Response:
        if not answer.body:
            return QUEUED if answer.status == QUEUED.status else Response(answer.status, [], b"")
        kind = ("content-type", answer.content_type) if answer.content_type else JSON
        url = html.escape(self._handler.url_of(self._scope))
        return Response(answer.status, [kind], answer.body.replace("{url}", url).encode())

    def _key(self, form: Form, body: bytes, event: Event, *, has_time: bool) -> bytes | None:
        """Return the key of the request or of the event. Neither depends on what the service made up."""
        keys, headers = self._handler.admission.keys, self._headers
        if KEY_HEADER in headers or form.key_headers:
            for name in (KEY_HEADER, *form.key_headers):
                if name in headers:
                    return keys.of(event, keys.given(headers.get(name), self._client.name), content=body)
        if not keys.natural:
            return None
        return keys.of(event, None) if has_time else keys.of_record(event, body)


def event_of(translated: Translated) -> Event:
    """Raises `Invalid`, as for any other event, but not because of the original: it may be kept as text."""
    call = translated.call
    written = _encode(call)
    try:
        return decode(written)
    except Malformed:  # a level of nesting more than the body
        pass
    except Invalid as exc:
        if "payload" not in exc.errors:
            raise
    call.original = _encode(call.original).decode()
    call.adapted = {**call.adapted, "original": "a database's JSON does not take it, so it is kept as text"}
    return decode(_encode(call))


def _token_of(scope: Scope) -> str | None:
    """The token in a Basic password or in the query. None: it may be in the X-API-TOKEN header."""
    query = scope.query_string
    return _password(scope.headers) or (query_value(query, "token") if query else None)


def _password(headers: Headers) -> str | None:
    """The password of Basic authentication, or the user name if the password is empty."""
    authorization = headers.get("authorization")
    if not authorization:
        return None
    scheme, _, credentials = str(authorization).partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or name or None

"""`POST /in/<source>[/<token>]`: translates what a telephony server posts into an event, and queues it."""

import base64
import binascii
import html
from collections.abc import Callable, Mapping
from urllib.parse import unquote

import msgspec

from ingest.auth.authenticator import Client
from ingest.errors import IngestError, Invalid, Malformed, Unauthenticated, UnknownSource
from ingest.events.event import Event, decode
from ingest.events.idempotency import HEADER as KEY_HEADER
from ingest.http.admission import Admission
from ingest.http.body_reader import BodyReader
from ingest.http.responses import JSON, QUEUED, Response
from ingest.http.rsgi import Headers, HttpProtocol, Scope
from ingest.pipeline.batcher import Batcher
from ingest.pipeline.outcomes import failure_of
from ingest.sources.base import Posted, Translated
from ingest.sources.bodies import query_value
from ingest.sources.form import Answer, Form
from ingest.sources.mapping import Mapper
from ingest.sources.signatures import Verifier
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
    ) -> None:
        """`public_url` is the URL at which sources reach this service if a proxy stands before it, else empty."""
        self._admission = admission
        self._bodies = bodies
        self._batcher = batcher
        self._sources = sources
        self._public_url = public_url.rstrip("/")
        self._body_bytes_max = body_bytes_max
        self._count_adapted = count_adapted

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        admission = self._admission
        name, _, token = scope.path.removeprefix(PREFIX).partition("/")
        given = unquote(token.rstrip("/")) or _token_of(scope)
        try:
            response = await self._accept(name, given, scope, protocol)
            admission.count_response("client", response.status)
        except Exception as exc:
            error = exc if isinstance(exc, IngestError) else admission.unforeseen(exc)
            known = name if name in self._sources else "?"  # it may be a token
            response = await admission.refuse(error, "client", scope, (PREFIX + known, given))
            if isinstance(exc, Unauthenticated):
                response = response.having(CHALLENGE)
        response.send(protocol)

    async def _accept(self, name: str, token: str | None, scope: Scope, protocol: HttpProtocol) -> Response:
        admission = self._admission
        source = self._source(name)
        headers, client = admission.admit(scope, token)
        body = await self._bodies.read(protocol, headers, self._body_bytes_max)
        posted = Posted(self._url(scope), scope.query_string, dict(headers.items()), body)
        if source.verifier and not source.verifier.is_signed(posted):
            raise Unauthenticated("The signature is missing or wrong.")
        translated = source.mapper.translate(posted)
        event = event_of(translated)
        if client.bucket:
            client.bucket.take(1)
        event.key = self._key(source.form, posted, event, translated, client)
        event.headers = admission.propagate_trace_context(headers, client.message_headers)
        if failure := await failure_of(event, await self._batcher.submit(event)):
            raise failure
        client.events += 1
        for reason in translated.reasons:
            self._count_adapted(source.name, reason)
        return _answer(source.form.answer, posted.url)

    def _key(self, form: Form, posted: Posted, event: Event, translated: Translated, client: Client) -> bytes | None:
        """Return the key of the request or of the event. Neither depends on what the service made up."""
        keys, body = self._admission.keys, posted.body
        name = next((name for name in (KEY_HEADER, *form.key_headers) if name in posted.headers), None)
        if name:
            return keys.of(event, keys.given(posted.headers[name], client.name), content=body)
        return keys.of(event, None) if translated.has_time else keys.of_record(event, body)

    def _source(self, name: str) -> Source:
        """Raises `UnknownSource`."""
        if name not in self._sources:
            known = ", ".join(sorted(self._sources))
            raise UnknownSource(f"There is no source {name[:NAME_CHARS_MAX]!r}. Known sources: {known}.")
        return self._sources[name]

    def _url(self, scope: Scope) -> str:
        query = f"?{scope.query_string}" if scope.query_string else ""
        host = scope.authority or scope.headers.get("host", "")
        return f"{self._public_url or f'{scope.scheme}://{host}'}{scope.path}{query}"


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


def _answer(answer: Answer, url: str) -> Response:
    if not answer.body:
        return QUEUED if answer.status == QUEUED.status else Response(answer.status, [], b"")
    kind = ("content-type", answer.content_type) if answer.content_type else JSON
    return Response(answer.status, [kind], answer.body.replace("{url}", html.escape(url)).encode())


def _token_of(scope: Scope) -> str | None:
    """The token in a Basic password or in the query. None: it may be in the X-API-TOKEN header."""
    return _password(scope.headers) or query_value(scope.query_string, "token")


def _password(headers: Headers) -> str | None:
    """The password of Basic authentication, or the user name if the password is empty."""
    scheme, _, credentials = str(headers.get("authorization", "")).partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or name or None

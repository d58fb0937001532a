"""`POST /in/<source>[/<token>]`: translates what a telephony server posts into events, and queues them."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import msgspec

from ingest.errors import IngestError, Unauthenticated, UnknownSource
from ingest.events.event import Event, decode
from ingest.events.headers import MessageHeaders
from ingest.http.admission import Admission
from ingest.http.body_reader import BodyReader
from ingest.http.responses import QUEUED, Response
from ingest.http.rsgi import Headers, HttpProtocol, Scope
from ingest.pipeline.batcher import Batcher
from ingest.pipeline.outcomes import failure_of
from ingest.sources.base import Call, Posted, Source
from ingest.sources.forms import query_value

PREFIX = "/in/"
CHALLENGE = ("www-authenticate", 'Basic realm="call-events"')
"""Sources that cannot set a header understand this challenge. Some send no password before they receive it."""
NOTHING = Response(204, [], b"")

_encode = msgspec.json.Encoder().encode


class SourceHandler:
    """Responds with the status that the source expects."""

    def __init__(
        self,
        admission: Admission,
        bodies: BodyReader,
        batcher: Batcher,
        sources: Sequence[Source],
        secrets: Mapping[str, str],
        public_url: str,
        body_bytes_max: int,
    ) -> None:
        """A source that has a secret in `secrets`, by its name, must sign its requests.

        `public_url` is the URL at which sources reach this service if a proxy stands before it, else empty.
        """
        self._admission = admission
        self._bodies = bodies
        self._batcher = batcher
        self._sources = {source.name: source for source in sources}
        self._secrets = {name: secret.encode() for name, secret in secrets.items()}
        self._public_url = public_url.rstrip("/")
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        try:
            response = await self._accept(scope, protocol)
            self._admission.count_response("client", response.status)
        except Unauthenticated as exc:
            response = (await self._admission.refuse(exc, "client", scope)).having(CHALLENGE)
        except IngestError as exc:
            response = await self._admission.refuse(exc, "client", scope)
        response.send(protocol)

    async def _accept(self, scope: Scope, protocol: HttpProtocol) -> Response:
        admission = self._admission
        source, token = self._addressed(scope.path)
        headers, client = admission.admit(scope, token or _token_of(scope))
        body = await self._bodies.read(protocol, headers, self._body_bytes_max)
        events = [_event(call) for call in self._calls(source, scope, headers, body)]
        if client.bucket:
            client.bucket.take(len(events))
        message_headers = admission.propagate_trace_context(headers, client.message_headers)
        await self._submit(events, admission.key_in(headers, client), message_headers)
        client.events += len(events)
        return NOTHING if source.status == NOTHING.status else QUEUED

    def _calls(self, source: Source, scope: Scope, headers: Headers, body: bytes) -> Sequence[Call]:
        posted = Posted(self._url(scope), scope.query_string, dict(headers.items()), body)
        secret = self._secrets.get(source.name)
        if secret is not None and not source.is_signed(posted, secret):
            raise Unauthenticated("The signature is missing or wrong.")
        return source.calls(posted)

    async def _submit(self, events: Sequence[Event], key: bytes | None, message_headers: MessageHeaders | None) -> None:
        """Queue the events and wait until all are durable. Raises the error of the first event that failed."""
        for index, event in enumerate(events):
            event.key = self._admission.keys.of(event, key, index)
            event.headers = message_headers
        for event, done in [(event, self._batcher.submit(event)) for event in events]:
            if failure := await failure_of(event, await done):
                raise failure

    def _addressed(self, path: str) -> tuple[Source, str]:
        """The source and the token in the path. Raises `UnknownSource`."""
        name, _, token = path.removeprefix(PREFIX).partition("/")
        if name not in self._sources:
            known = ", ".join(sorted(self._sources))
            raise UnknownSource(f"There is no source {name[:64]!r}. Known sources: {known}.")
        return self._sources[name], unquote(token.rstrip("/"))

    def _url(self, scope: Scope) -> str:
        query = f"?{scope.query_string}" if scope.query_string else ""
        host = scope.authority or scope.headers.get("host", "")
        return f"{self._public_url or f'{scope.scheme}://{host}'}{scope.path}{query}"


def _event(call: Call) -> Event:
    """Raises `Invalid`, as for any other event."""
    return decode(_encode(call))


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

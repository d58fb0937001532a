"""`POST /in/<client>[/<token>]`: what telephony servers post as they are, made events and queued like any others."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import msgspec

from ingest.errors import IngestError, Unauthenticated, UnknownClient
from ingest.events.event import Event, decode
from ingest.events.headers import MessageHeaders
from ingest.events.idempotency import Keys
from ingest.http.body_reader import BodyReader
from ingest.http.event_handler import Endpoint
from ingest.http.responses import QUEUED, Response
from ingest.http.rsgi import Headers, HttpProtocol, Scope
from ingest.pipeline.batcher import Batcher, failure_of
from ingest.sources.base import Call, Client, Posted
from ingest.sources.forms import query_value

PREFIX = "/in/"
CHALLENGE = ("www-authenticate", 'Basic realm="call-events"')
"""Clients that cannot send a header of their own know this one; some send nothing before they are asked."""
NOTHING = Response(204, [], b"")

_encode = msgspec.json.Encoder().encode


class ClientEndpoint:
    """Answers as the client wants it. `secrets` by the client's name: with one, its signature is asked for."""

    def __init__(
        self,
        single: Endpoint,
        keys: Keys,
        bodies: BodyReader,
        batcher: Batcher,
        clients: Sequence[Client],
        secrets: Mapping[str, str],
        public_url: str,
        body_bytes_max: int,
    ) -> None:
        """`public_url` is how clients reach this service, where a proxy stands between."""
        self._single = single
        self._keys = keys
        self._bodies = bodies
        self._batcher = batcher
        self._clients = {client.name: client for client in clients}
        self._secrets = {name: secret.encode() for name, secret in secrets.items()}
        self._public_url = public_url.rstrip("/")
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        try:
            answer = await self._take(scope, protocol)
            self._single.count_answered("client", answer.status)
        except Unauthenticated as exc:
            answer = (await self._single.refuse(exc, "client", scope)).having(CHALLENGE)
        except IngestError as exc:
            answer = await self._single.refuse(exc, "client", scope)
        answer.send(protocol)

    async def _take(self, scope: Scope, protocol: HttpProtocol) -> Response:
        client, token = self._addressed(scope.path)
        headers, grant = self._single.admit(scope, token or _token_of(scope))
        body = await self._bodies.read(protocol, headers, self._body_bytes_max)
        posted = Posted(self._url(scope), scope.query_string, dict(headers.items()), body)
        secret = self._secrets.get(client.name)
        if secret is not None and not client.is_signed(posted, secret):
            raise Unauthenticated("The signature is missing or wrong.")
        events = [_event(call) for call in client.calls(posted)]
        if grant.bucket:
            grant.bucket.take(len(events))
        carried = self._single.propagate_trace_context(headers, grant.carried)
        await self._submit(events, self._single.key_given(headers, grant), carried)
        grant.events += len(events)
        return NOTHING if client.status == NOTHING.status else QUEUED

    async def _submit(self, events: Sequence[Event], key: bytes | None, carried: MessageHeaders | None) -> None:
        """Raises why the first that failed did."""
        for index, event in enumerate(events):
            event.key = self._keys.of(event, key, index)
            event.headers = carried
        for event, done in [(event, self._batcher.submit(event)) for event in events]:
            if failure := await failure_of(event, await done):
                raise failure

    def _addressed(self, path: str) -> tuple[Client, str]:
        name, _, token = path.removeprefix(PREFIX).partition("/")
        if name not in self._clients:
            raise UnknownClient(f"There is no client {name[:64]!r}; known are {', '.join(sorted(self._clients))}.")
        return self._clients[name], unquote(token.rstrip("/"))

    def _url(self, scope: Scope) -> str:
        query = f"?{scope.query_string}" if scope.query_string else ""
        host = scope.authority or scope.headers.get("host", "")
        return f"{self._public_url or f'{scope.scheme}://{host}'}{scope.path}{query}"


def _event(call: Call) -> Event:
    """Raises `Invalid`, as for any other event."""
    return decode(_encode(call))


def _token_of(scope: Scope) -> str | None:
    """Where it stands if not in the path: a Basic password, the query, or the header of all others (None)."""
    return _password(scope.headers) or query_value(scope.query_string, "token")


def _password(headers: Headers) -> str | None:
    """The password of Basic authentication, or the name where there is none."""
    scheme, _, credentials = str(headers.get("authorization", "")).partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or name or None

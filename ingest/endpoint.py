"""The hot lane: `POST /api/call-events`, plain ASGI inside the BlackSheep application.

A BlackSheep handler costs twice the CPU of a bare ASGI one, so this one path is answered before the
framework sees it. Per event only this module's work is paid; all behind `submit` is paid by the batch.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from ingest.answers import QUEUED, Answer, answer_to
from ingest.batcher import Batcher, failure_of
from ingest.bodies import BodyReader, Receive
from ingest.errors import Draining, IngestError, MethodNotAllowed, Unauthenticated, UnsupportedEncoding
from ingest.events import decode
from ingest.metrics import Metrics
from ingest.tokens import Tokens

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PATH = "/api/call-events"


class Endpoint:
    """Answers one request: 200 after the event is durable, the error's answer otherwise."""

    def __init__(
        self, tokens: Tokens, bodies: BodyReader, batcher: Batcher, metrics: Metrics, body_bytes_max: int
    ) -> None:
        self._tokens = tokens
        self._bodies = bodies
        self._batcher = batcher
        self._refused = metrics.refused
        self._body_bytes_max = body_bytes_max
        self._draining = False

    def drain(self) -> None:
        """From now on refuse events: 503, so that clients go elsewhere."""
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            length = self.admit(scope)
            event = decode(await self._bodies.read(receive, length, self._body_bytes_max))
            failures = await self._batcher.submit(event)
            if failures and (failure := failure_of(event, failures)):
                raise failure
            answer = QUEUED
        except IngestError as exc:
            answer = self.refuse(exc)
        await send(answer.start)
        await send(answer.body)

    def admit(self, scope: Scope) -> int | None:
        """Check all that is known before the body; its Content-Length, or None. Raises `Rejected` or `Draining`."""
        if scope["method"] != "POST":
            raise MethodNotAllowed("POST")
        headers = dict(scope["headers"])
        if not self._tokens.accepts(headers.get(b"x-api-token")):
            raise Unauthenticated
        if self._draining:
            raise Draining
        if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
            raise UnsupportedEncoding
        length = headers.get(b"content-length")
        return int(length) if length is not None and length.isdigit() else None

    def refuse(self, error: IngestError) -> Answer:
        """Count the refusal and make its answer."""
        self.count_refused(error)
        return answer_to(error)

    def count_refused(self, error: IngestError) -> None:
        self._refused.labels(error.code).inc()

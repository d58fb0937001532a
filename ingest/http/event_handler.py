"""The hot lane: `POST /api/call-events`, answered before the BlackSheep application sees it.

A BlackSheep handler costs twice the CPU of a bare one, and ASGI more than RSGI (`ingest.http.rsgi`). Per event only
this module's work is paid; all behind `submit` is paid by the batch.
"""

import asyncio
import logging
import random

from ingest.auth.authenticator import Authenticator, Client
from ingest.errors import Draining, IngestError, MethodNotAllowed, RateLimited, Unauthenticated
from ingest.events.event import decode
from ingest.events.idempotency import HEADER as KEY_HEADER
from ingest.events.idempotency import Keys
from ingest.http.body_reader import BodyReader
from ingest.http.request_id import HEADER as REQUEST_ID
from ingest.http.request_id import request_id_of
from ingest.http.responses import QUEUED, Response, answer_to
from ingest.http.rsgi import Headers, HttpProtocol, Scope
from ingest.http.trace_context import PropagateTraceContext, propagate_trace_context
from ingest.pipeline.batcher import Batcher, failure_of
from ingest.telemetry.metrics import Metrics, Way

log = logging.getLogger("ingest.requests")

PATH = "/api/call-events"

DELAY_SECONDS = 0.25
"""How long a client waits that sends above its rate; the most impatient ones wait for an answer twice as long."""
DELAY_SPREAD = (0.5, 1.5)
"""Answered together, clients would come back together, and all others would have to wait behind them."""
DELAYED_MAX = 2000
"""Requests that wait so; further ones are refused at once."""


class Endpoint:
    """Answers one request: 200 after the event is durable, the error's answer otherwise."""

    def __init__(
        self,
        authenticator: Authenticator,
        keys: Keys,
        bodies: BodyReader,
        batcher: Batcher,
        metrics: Metrics,
        body_bytes_max: int,
        propagate_trace_context: PropagateTraceContext = propagate_trace_context,
    ) -> None:
        self._authenticator = authenticator
        self._keys = keys
        self._bodies = bodies
        self._batcher = batcher
        self._refused = metrics.refused
        self.count_answered = metrics.answered
        self._body_bytes_max = body_bytes_max
        self.propagate_trace_context = propagate_trace_context
        self._draining = False
        self._delayed = 0

    def drain(self) -> None:
        """From now on refuse events: 503, so that clients go elsewhere."""
        self._draining = True

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        try:
            headers, grant = self.admit(scope)
            event = decode(await self._bodies.read(protocol, headers, self._body_bytes_max))
            if grant.bucket:
                grant.bucket.take(1)
            if KEY_HEADER in headers or self._keys.natural:
                event.key = self._keys.of(event, self.key_given(headers, grant))
            event.headers = self.propagate_trace_context(headers, grant.carried)
            failures = await self._batcher.submit(event, 1)
            if failures:
                if failure := await failure_of(event, failures):
                    raise failure
                self.count_answered("single", 200)
            grant.events += 1
            answer = QUEUED
        except IngestError as exc:
            answer = await self.refuse(exc, "single", scope)
        answer.send(protocol)

    def admit(self, scope: Scope, token: str | None = None) -> tuple[Headers, Client]:
        """Check all that is known before the body; `token` if it is not where events have it.

        Raises `Rejected` or `Draining`.
        """
        if scope.method != "POST":
            raise MethodNotAllowed("POST")
        headers = scope.headers  # each access copies them
        grant = self._authenticator.of(token or headers.get("x-api-token"))
        if grant is None:
            raise Unauthenticated
        if self._draining:
            raise Draining
        if grant.bucket and (wait_seconds := grant.bucket.wait_seconds()):
            grant.limited += 1
            raise RateLimited(wait_seconds)
        return headers, grant

    def key_given(self, headers: Headers, grant: Client) -> bytes | None:
        """What the request's head gives as its key. Raises `Malformed`."""
        return self._keys.given(headers.get(KEY_HEADER), grant.name) if KEY_HEADER in headers else None

    async def refuse(self, error: IngestError, way: Way, scope: Scope) -> Response:
        """Count the refusal, log it, and make its answer."""
        self.count_refused(error)
        request_id = request_id_of(scope.headers)
        answer = answer_to(error).having((REQUEST_ID, request_id))
        self.count_answered(way, answer.status)
        told = {"code": error.code, "status": answer.status, "request_id": request_id, "client": scope.client}
        log.info("request refused", extra=told)
        if isinstance(error, RateLimited) and self._delayed < DELAYED_MAX:
            await self._delay()
        return answer

    async def _delay(self) -> None:
        """A client that does nothing but wait for answers is slowed down by them; its connection costs nothing."""
        self._delayed += 1
        try:
            await asyncio.sleep(DELAY_SECONDS * random.uniform(*DELAY_SPREAD))  # noqa: S311 - jitter, not a secret
        finally:
            self._delayed -= 1

    def count_refused(self, error: IngestError) -> None:
        self._refused.labels(error.code).inc()

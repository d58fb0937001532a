"""The hot lane: `POST /api/call-events`, answered before the BlackSheep application sees it.

A BlackSheep handler costs twice the CPU of a bare one, and ASGI more than RSGI (`ingest.rsgi`). Per event only
this module's work is paid; all behind `submit` is paid by the batch.
"""

from ingest.answers import QUEUED, Answer, answer_to
from ingest.batcher import Batcher, failure_of
from ingest.bodies import BodyReader
from ingest.errors import Draining, IngestError, MethodNotAllowed, Unauthenticated
from ingest.events import decode
from ingest.metrics import Metrics
from ingest.rsgi import Headers, HttpProtocol, Scope
from ingest.tokens import Tokens

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

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        try:
            headers = self.admit(scope)
            event = decode(await self._bodies.read(protocol, headers, self._body_bytes_max))
            failures = await self._batcher.submit(event)
            if failures and (failure := failure_of(event, failures)):
                raise failure
            answer = QUEUED
        except IngestError as exc:
            answer = self.refuse(exc)
        answer.send(protocol)

    def admit(self, scope: Scope) -> Headers:
        """Check all that is known before the body. Raises `Rejected` or `Draining`."""
        if scope.method != "POST":
            raise MethodNotAllowed("POST")
        headers = scope.headers  # each access copies them
        if not self._tokens.accepts(headers.get("x-api-token")):
            raise Unauthenticated
        if self._draining:
            raise Draining
        return headers

    def refuse(self, error: IngestError) -> Answer:
        """Count the refusal and make its answer."""
        self.count_refused(error)
        return answer_to(error)

    def count_refused(self, error: IngestError) -> None:
        self._refused.labels(error.code).inc()

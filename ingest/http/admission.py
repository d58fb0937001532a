"""Admits or refuses requests: token, drain, rate limit and idempotency key, and the responses to refused requests."""

import asyncio
import logging
import random
import re
from collections.abc import Callable

from ingest.auth.authenticator import Authenticator, Client
from ingest.delay_line import DelayLine
from ingest.errors import (
    Draining,
    IngestError,
    Invalid,
    Malformed,
    MethodNotAllowed,
    RateLimited,
    Unauthenticated,
    Unforeseen,
)
from ingest.events.idempotency import HEADER as KEY_HEADER
from ingest.events.idempotency import Keys
from ingest.http.responses import Response, response_to
from ingest.http.rsgi import Headers, Scope
from ingest.http.trace_context import PropagateTraceContext, propagate_trace_context
from ingest.status.refused_clients import RefusedClients
from ingest.telemetry.labels import Way
from ingest.telemetry.log_rate_limit import RepeatLimit
from ingest.telemetry.metrics import Metrics

log = logging.getLogger("ingest.requests")

REQUEST_ID = "x-request-id"

DELAY_SECONDS = 0.25
"""A client above its rate waits this long for its response. The shortest known client timeout is twice this time."""
DELAY_SPREAD = (0.5, 1.5)
"""Random factors of the delay. Clients that get responses together would retry together and block all others."""
DELAYED_MAX = 2000
"""Delayed requests at a time; further requests are refused at once."""

Source = tuple[str, str | None]
"""The resource of a request, and its token."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACE_ID = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


class Admission:
    """The checks and counts that all handlers of one worker share."""

    def __init__(
        self,
        authenticator: Authenticator,
        keys: Keys,
        metrics: Metrics,
        propagate_trace_context: PropagateTraceContext = propagate_trace_context,
    ) -> None:
        self.keys = keys
        self.count_response = metrics.answered
        self.count_refused = metrics.count_refused
        self.propagate_trace_context = propagate_trace_context
        self._authenticator = authenticator
        self._draining = False
        self._delayed = DelayLine()
        self._lines = RepeatLimit()
        self.refused = RefusedClients()

    def drain(self) -> None:
        """Refuse all further events with 503, so that clients go to another node."""
        self._draining = True

    def admit(self, scope: Scope, token: str | None = None) -> tuple[Headers, Client]:
        """Check a request before its body is read. `token` overrides the one in the X-API-TOKEN header.

        Raises `Rejected` or `Draining`.
        """
        if scope.method != "POST":
            raise MethodNotAllowed("POST")
        headers = scope.headers  # each access copies them
        client = self._authenticator.client_of(token or headers.get("x-api-token"))
        if client is None:
            raise Unauthenticated
        if self._draining:
            raise Draining
        if client.bucket and (wait_seconds := client.bucket.wait_seconds()):
            client.limited += 1
            raise RateLimited(wait_seconds)
        return headers, client

    def key_in(self, headers: Headers, client: Client) -> bytes | None:
        """The request's idempotency key, if it has one. Raises `Malformed`."""
        return self.keys.given(headers.get(KEY_HEADER), client.name) if KEY_HEADER in headers else None

    def unforeseen(self, error: Exception) -> Unforeseen:
        """Log an exception that no part of the service expects. Return the error that answers the request."""
        log.error("request failed", exc_info=error)
        return Unforeseen()

    async def refuse(self, error: IngestError, way: Way, scope: Scope, source: Source | None = None) -> Response:
        """Count and log the refusal. Return its response when it may be sent."""
        response = self.refusal(error, way, scope, source)
        if self.delays(error):
            await self.delay()
        return response

    def refusal(self, error: IngestError, way: Way, scope: Scope, source: Source | None = None) -> Response:
        """Count and log the refusal, and return its response.

        `source` has the resource and the token of a request whose path holds the token.
        """
        self.count_refused(error.code)
        request_id = request_id_of(scope.headers)
        response = response_to(error).having((REQUEST_ID, request_id))
        self.count_response(way, response.status)
        resource, token = source or (scope.path, None)
        address = scope.client.rpartition(":")[0]
        known = self.refused.count(address, resource, error.code)
        left_out = self._lines.left_out(error.code)
        if known and left_out is None:
            return response  # a suppressed line must cost nothing: a flood of refused requests makes many
        name, rules = self._token_name(token or scope.headers.get("x-api-token")), rules_of(error)
        if not known:
            self.refused.describe(address, resource, error.code, name, rules)
        if left_out is not None:
            fields = {"code": error.code, "status": response.status, "request_id": request_id, "client": scope.client}
            fields |= {"path": resource, "token": name}
            fields |= {"fields": rules} if rules else {}
            fields |= {"reason": str(error)} if response.status >= 500 else {}
            fields |= {"left_out": left_out} if left_out else {}
            log.info("request refused", extra=fields)
        return response

    def _token_name(self, token: str | None) -> str:
        """The name of a token, empty if it is missing or unknown."""
        client = self._authenticator.client_of(token)
        return client.name if client else ""

    def delays(self, error: IngestError) -> bool:
        """Return True if the response to this refusal waits for `delay`."""
        return isinstance(error, RateLimited) and self._delayed.count < DELAYED_MAX

    async def delay(self) -> None:
        """Slow the client down. A client that only waits for responses retries later; its connection costs nothing."""
        over = asyncio.Event()
        self.after_delay(over.set)
        await over.wait()

    def after_delay(self, respond: Callable[[], object]) -> None:
        """Call `respond` after the delay."""
        self._delayed.add(DELAY_SECONDS * random.uniform(*DELAY_SPREAD), respond)  # noqa: S311 - jitter, not a secret


def rules_of(error: IngestError) -> dict[str, str]:
    """The fields of an event that broke a rule, with the rule. No value of the event is in it."""
    if isinstance(error, Invalid):
        return {field: " ".join(rules) for field, rules in error.errors.items()}
    return {"body": str(error)} if isinstance(error, Malformed) else {}


def request_id_of(headers: Headers) -> str:
    """The client's own request id, its trace id, or a new id. The log and the response name the request by it."""
    given = headers.get(REQUEST_ID)
    if given and _REQUEST_ID.fullmatch(given):
        return str(given)
    parent = headers.get("traceparent")
    trace = _TRACE_ID.fullmatch(parent) if parent else None
    return trace[1] if trace else f"{random.getrandbits(128):032x}"

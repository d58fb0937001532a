"""The fast path: `POST /api/call-events`, which bypasses the BlackSheep application.

A BlackSheep handler costs twice the CPU of a bare one, and ASGI costs more than RSGI (`ingest.http.rsgi`). Only this
module's work is paid per event; all work behind `submit` is paid per batch.
"""

import asyncio
from datetime import tzinfo

from ingest.auth.authenticator import Client
from ingest.errors import IngestError
from ingest.events.event import Event, decode
from ingest.events.idempotency import HEADER as KEY_HEADER
from ingest.http.admission import Admission
from ingest.http.body_reader import BodyReader
from ingest.http.responses import QUEUED
from ingest.http.rsgi import Headers, HttpProtocol, Scope
from ingest.pipeline.batcher import Batcher
from ingest.pipeline.outcomes import Failures, failure_of

PATH = "/api/call-events"


class EventHandler:
    """Handles one event: the response is 200 once the event is durable, otherwise the error's."""

    def __init__(
        self,
        admission: Admission,
        bodies: BodyReader,
        batcher: Batcher,
        body_bytes_max: int,
        zone: tzinfo | None = None,
    ) -> None:
        """`zone` is that of timestamps without an offset."""
        self._admission = admission
        self._keys = admission.keys
        self._bodies = bodies
        self._batcher = batcher
        self._body_bytes_max = body_bytes_max
        self._zone = zone

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        admission = self._admission
        try:
            headers, client = admission.admit(scope)
            event, group = self.submit(
                headers, client, await self._bodies.read(protocol, headers, self._body_bytes_max)
            )
            failures = await group
            if failures:
                if failure := await failure_of(event, failures):
                    raise failure
                admission.count_response("single", 200)
            client.events += 1
            response = QUEUED
        except IngestError as exc:
            response = await admission.refuse(exc, "single", scope)
        except Exception as exc:
            response = await admission.refuse(admission.unforeseen(exc), "single", scope)
        response.send(protocol)

    def submit(self, headers: Headers, client: Client, body: bytes) -> tuple[Event, "asyncio.Future[Failures | None]"]:
        """Queue the event of a request, and return it with the outcome of its group (`EventQueue.submit`).

        Raises `Rejected`, `Overloaded` and `StoreUnavailable`.
        """
        event = decode(body, self._zone)
        if client.bucket:
            client.bucket.take(1)
        if KEY_HEADER in headers or self._keys.natural:
            event.key = self._keys.of(event, self._admission.key_in(headers, client))
        event.headers = self._admission.propagate_trace_context(headers, client.message_headers)
        return event, self._batcher.submit(event, 1)

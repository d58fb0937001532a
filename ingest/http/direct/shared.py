"""The handling of requests, the limits and the counts that all connections of a listener share."""

import asyncio
import logging

from ingest.http.direct.events import DirectEvents
from ingest.http.direct.known_heads import KnownHeads
from ingest.http.direct.request import Request
from ingest.http.direct.response import QueuedResponse
from ingest.http.responses import Response
from ingest.http.rsgi import Handler

log = logging.getLogger("ingest.listener")

FAILED = Response.make(500, {"message": "The service failed on this request. Its log has the reason."})


class Shared:
    """The listener makes it, and takes its counts."""

    def __init__(self, application: Handler, events: DirectEvents, body_timeout_seconds: float, *, fast: bool) -> None:
        """`application` handles all requests, or with `fast` all but those that `events` takes."""
        self.events = events
        self.body_timeout_seconds = body_timeout_seconds
        self.queued = QueuedResponse()
        self.known_heads = KnownHeads()
        self.draining = False
        """Each response closes its connection."""
        self.requests = 0
        self.received_bytes = 0
        self.malformed = 0
        self._application = application
        self._fast = fast
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, request: Request) -> bool:
        """Handle a request, whose head is complete. Return True if it is an event whose head may come again."""
        if self._fast and self.events.takes(request):
            return self.events.begin(request)
        task = asyncio.get_running_loop().create_task(self._handle(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return False

    async def _handle(self, request: Request) -> None:
        try:
            await self._application(request, request)
            if request.stream:
                await request.stream.end()
                return
        except Exception:
            log.exception("a request failed", extra={"method": request.method, "path": request.path})
            if request.stream:
                request.abort()  # the client notices that the response is not whole
                return
        if not request.answered:
            request.respond(FAILED)

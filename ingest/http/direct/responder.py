"""Writes the responses of a connection in the order of their requests."""

from collections import deque
from collections.abc import Callable, Sequence

from ingest.http.direct import limits
from ingest.http.direct.head import announced_bytes
from ingest.http.direct.request import Request
from ingest.http.direct.response import CHUNKED, CLOSE, CONTINUE, KEEP_ALIVE, LAST_CHUNK, chunk, response_head
from ingest.http.direct.shared import Shared
from ingest.http.responses import QUEUED, Header, Response

WITHOUT_BODY = (204, 304)
FRAMING = ("connection", "content-length", "transfer-encoding")
"""Headers that the responder sets itself."""


class Responder:
    """Each request stays in `unanswered` until its response is written."""

    def __init__(
        self, shared: Shared, write: Callable[[bytes], None], answered: Callable[[Request, bool], None]
    ) -> None:
        """`answered` is called after each response. The flag tells it to close the connection."""
        self.unanswered: deque[Request] = deque()
        self._shared = shared
        self._send = write
        self._on_answered = answered

    def is_next(self, request: Request) -> bool:
        return bool(self.unanswered) and self.unanswered[0] is request

    def respond(self, request: Request, response: Response) -> None:
        """Write the response, or keep it until those of earlier requests are written."""
        unanswered = self.unanswered
        if response is QUEUED and len(unanswered) == 1 and unanswered[0] is request and self._is_plain(request):
            unanswered.clear()
            self._send(self._shared.queued.keep_alive)
            self._on_answered(request, False)
            return
        if not self.is_next(request):
            request.response = response
            return
        self._write(request, response)
        while self.unanswered and (waiting := self.unanswered[0].response):
            self._write(self.unanswered[0], waiting)
        if self.unanswered:
            self.unanswered[0].proceed()

    def send_continue(self, request: Request) -> None:
        """Send 100 to a client that waits for it."""
        if request.waits_for_continue and request.wants_body and self.is_next(request):
            request.waits_for_continue = False
            self._send(CONTINUE)

    def begin_stream(self, request: Request, response: Response) -> None:
        if request.http_version == "1.0":
            request.keep_alive = False
        framing = [CHUNKED] if request.http_version == "1.1" else []
        self._send(self._head(request, response, framing, close=not request.keep_alive))

    def write_part(self, request: Request, data: bytes) -> None:
        if data and request.method != "HEAD":
            self._send(chunk(data) if request.http_version == "1.1" else data)

    def end_stream(self, request: Request) -> None:
        if request.http_version == "1.1" and request.method != "HEAD":
            self._send(LAST_CHUNK)
        if self.is_next(request):
            self._answered(request, close=not request.keep_alive)

    def _is_plain(self, request: Request) -> bool:
        """Return True if the connection stays open after the response, as nearly always."""
        return request.keep_alive and request.complete and request.http_version == "1.1" and not self._shared.draining

    def _write(self, request: Request, response: Response) -> None:
        close = self._closes(request, response)
        if response is QUEUED and (close or request.http_version == "1.1"):
            queued = self._shared.queued
            self._send(queued.close if close else queued.keep_alive)
        else:
            length = [] if response.status in WITHOUT_BODY else [("content-length", str(len(response.body)))]
            body = b"" if request.method == "HEAD" else response.body
            self._send(self._head(request, response, length, close=close) + body)
        self._answered(request, close=close)

    def _answered(self, request: Request, *, close: bool) -> None:
        self.unanswered.popleft()
        request.discard()
        self._on_answered(request, close)

    def _head(self, request: Request, response: Response, framing: Sequence[Header], *, close: bool) -> bytes:
        headers = [header for header in response.headers if header[0] not in FRAMING]
        if close:
            headers.append(CLOSE)
        elif request.http_version == "1.0":
            headers.append(KEEP_ALIVE)
        return response_head(response.status, [*headers, *framing], self._shared.queued.date)

    def _closes(self, request: Request, response: Response) -> bool:
        """Return True if the connection closes after this response."""
        if not request.keep_alive or not (request.complete or _can_be_discarded(request)):
            return True
        return (self._shared.draining or CLOSE in response.headers) and len(self.unanswered) == 1


def _can_be_discarded(request: Request) -> bool:
    """Return True if the rest of the body comes soon, so that the connection can go on after an early response."""
    return not request.waits_for_continue and announced_bytes(request.headers) <= limits.DISCARD_BYTES_MAX

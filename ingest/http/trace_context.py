"""Copies the trace context of a request into the headers of its messages.

The format is W3C Trace Context Level 2, sections 3.2 and 3.3. A valid context is copied unchanged; an invalid one is
left out.
"""

import re
from collections.abc import Callable

from ingest.events.headers import TRACEPARENT, TRACESTATE, MessageHeaders
from ingest.http.rsgi import Headers

TRACESTATE_CHARS_MAX = 512
"""The length that every service must be able to propagate (section 3.3)."""

PropagateTraceContext = Callable[[Headers, MessageHeaders | None], MessageHeaders | None]
"""Maps a request's headers, and the message headers of its client, to the headers of the request's messages."""

_FIELDS = "-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(f"00{_FIELDS}|(?!00|ff)[0-9a-f]{{2}}{_FIELDS}(?:-[!-~]{{0,200}})?")
"""Versions after 00 may have more fields. The version ff is invalid."""


def propagate_trace_context(headers: Headers, of_client: MessageHeaders | None) -> MessageHeaders | None:
    parent = headers.get(TRACEPARENT)
    if parent is None or not _TRACEPARENT.fullmatch(parent):
        return of_client
    message_headers = {TRACEPARENT: parent, **(of_client or {})}
    state = headers.get(TRACESTATE)
    if state and len(state) <= TRACESTATE_CHARS_MAX:
        message_headers[TRACESTATE] = state
    return message_headers

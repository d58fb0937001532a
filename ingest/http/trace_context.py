"""Takes the trace context of a request over into the headers of its messages.

Trace context is W3C's (Trace Context Level 2, sections 3.2 and 3.3): passed on as it came, or left out if it is wrong.
"""

import re
from collections.abc import Callable

from ingest.events.headers import TRACEPARENT, TRACESTATE, MessageHeaders
from ingest.http.rsgi import Headers

TRACESTATE_CHARS_MAX = 512
"""What every service on the way must be able to pass on."""

PropagateTraceContext = Callable[[Headers, MessageHeaders | None], MessageHeaders | None]
"""A request's headers, and what all messages of its token carry → what its messages carry."""

_FIELDS = "-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(f"00{_FIELDS}|(?!00|ff)[0-9a-f]{{2}}{_FIELDS}(?:-[!-~]{{0,200}})?")
"""Versions after the first, 00, may have more behind its fields; ff is none."""


def propagate_trace_context(headers: Headers, of_client: MessageHeaders | None) -> MessageHeaders | None:
    parent = headers.get(TRACEPARENT)
    if parent is None or not _TRACEPARENT.fullmatch(parent):
        return of_client
    message_headers = {TRACEPARENT: parent, **(of_client or {})}
    state = headers.get(TRACESTATE)
    if state and len(state) <= TRACESTATE_CHARS_MAX:
        message_headers[TRACESTATE] = state
    return message_headers

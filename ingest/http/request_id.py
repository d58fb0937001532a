"""What names a request in the log and in the answer that refuses it: the client's own id, its trace's, or a new one."""

import re
from uuid import uuid4

from ingest.http.rsgi import Headers

HEADER = "x-request-id"

_GIVEN = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


def request_id_of(headers: Headers) -> str:
    given = headers.get(HEADER)
    if given and _GIVEN.fullmatch(given):
        return str(given)
    trace = _TRACE.fullmatch(headers.get("traceparent") or "")
    return trace[1] if trace else uuid4().hex

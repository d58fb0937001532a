"""What test_openapi_conformance.py's requests are changed in before they are sent."""

import re
from secrets import token_hex
from typing import Any

import schemathesis

from ingest.events.idempotency import KEY_CHARS_MAX
from ingest.http.openapi import document

KEY = "Idempotency-Key"
FRAMING = ("Content-Length", "Transfer-Encoding")
"""HTTP's own: where the body ends. What the server says to wrong ones is in test_hostile.py."""
(PATTERN,) = (one["schema"]["pattern"] for one in document()["paths"]["/api/call-events"]["post"]["parameters"])


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Each key that is right is used once: with another event it would be refused, and rightly so.

    Headers of random names may be `FRAMING`: such a request has no end, or another one, and never gets to an operation.
    """
    headers: Any = case.headers or {}
    for name in FRAMING:
        headers.pop(name, None)
    if re.search(PATTERN, key := str(headers.get(KEY, ""))) and len(key) <= KEY_CHARS_MAX:
        headers[KEY] = token_hex(16)

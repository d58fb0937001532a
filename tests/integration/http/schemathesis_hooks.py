"""Changes the requests of test_openapi_conformance.py before Schemathesis sends them."""

import re
from secrets import token_hex
from typing import Any

import schemathesis

from ingest.events.idempotency import KEY_CHARS_MAX
from ingest.http.openapi import document

KEY = "Idempotency-Key"
FRAMING = ("Content-Length", "Transfer-Encoding")
"""The headers that say where a body ends. test_hostile.py tests wrong ones."""
(PATTERN,) = (one["schema"]["pattern"] for one in document()["paths"]["/api/call-events"]["post"]["parameters"])


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Replace each valid key with a new one, because the service rightly refuses a key with another event.

    Random header names may be in `FRAMING`. Such a request has a wrong end and never reaches an operation.
    """
    headers: Any = case.headers or {}
    for name in FRAMING:
        headers.pop(name, None)
    if re.search(PATTERN, key := str(headers.get(KEY, ""))) and len(key) <= KEY_CHARS_MAX:
        headers[KEY] = token_hex(16)

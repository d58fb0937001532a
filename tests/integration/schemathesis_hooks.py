"""What test_openapi_conformance.py's requests are changed in before they are sent."""

import re
from secrets import token_hex
from typing import Any

import schemathesis

from ingest.keys import KEY_CHARS_MAX
from ingest.openapi import document

KEY = "Idempotency-Key"
(PATTERN,) = (one["schema"]["pattern"] for one in document()["paths"]["/api/call-events"]["post"]["parameters"])


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Each key that is right is used once: with another event it would be refused, and rightly so."""
    headers: Any = case.headers or {}
    if re.search(PATTERN, key := str(headers.get(KEY, ""))) and len(key) <= KEY_CHARS_MAX:
        headers[KEY] = token_hex(16)

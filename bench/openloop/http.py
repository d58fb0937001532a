"""HTTP for the open loop: makes requests with different bodies, and reads an answer's status and length."""

import json
from collections.abc import Sequence

from bench.harness.events import STEPS, step
from ingest.http.event_handler import PATH

PLACEHOLDER = "call-number"
DIGITS = 12
HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"
VERSION = b"HTTP/1.1 "


class Requests:
    """`requests[number]` is the POST of one step. Three steps make a call, and all bodies differ.

    The requests are templates that lack only the call's number, so that each request costs one formatting.
    """

    def __init__(self, token: str) -> None:
        self._forms = [_form(token, event_type) for event_type in STEPS]

    def __getitem__(self, number: int) -> bytes:
        call, kind = divmod(number, len(self._forms))
        return self._forms[kind] % call


def _form(token: str, event_type: str) -> bytes:
    """Return the request with `%012x` in place of the call's number."""
    body = json.dumps(step(PLACEHOLDER, event_type)).encode().replace(b"%", b"%%")
    head = _head(token, len(body) - len(PLACEHOLDER) + DIGITS).encode("latin-1").replace(b"%", b"%%")
    return head + body.replace(PLACEHOLDER.encode(), b"%%0%dx" % DIGITS)


def _head(token: str, length: int) -> str:
    lines: Sequence[str] = (
        f"POST {PATH} HTTP/1.1",
        "Host: localhost",
        f"X-API-TOKEN: {token}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    return "\r\n".join(lines) + "\r\n\r\n"


def status_of(received: bytes) -> int | None:
    """Return the status of the answer in `received`, or None while a part of it is missing.

    Raises ValueError if the bytes are no answer of HTTP/1.1 with a Content-Length, or if more bytes follow. A
    connection has only one request at a time.
    """
    end = received.find(HEAD_END)
    if end < 0:
        return None
    missing = end + len(HEAD_END) + _length(received[:end]) - len(received)
    if missing < 0 or not received.startswith(VERSION):
        raise ValueError(f"not an answer to one request: {received[:100]!r}")
    return int(received[len(VERSION) : len(VERSION) + 3]) if not missing else None


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(LENGTH)
    if not found:
        raise ValueError(f"an answer without Content-Length: {head[:100]!r}")
    return int(rest.partition(b"\r\n")[0])

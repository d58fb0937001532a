"""The bytes of the open loop: requests with a body of their own, and as much of an answer as has to be read."""

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
    """`requests[number]` is the POST of one step: three steps make a call, and no two bodies are alike.

    All but the call's number is made beforehand, so that a request costs one formatting.
    """

    def __init__(self, token: str) -> None:
        self._forms = [_form(token, event_type) for event_type in STEPS]

    def __getitem__(self, number: int) -> bytes:
        call, kind = divmod(number, len(self._forms))
        return self._forms[kind] % call


def _form(token: str, event_type: str) -> bytes:
    """The request with `%012x` where the call's number is to be."""
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
    """The status of the answer in `received`, None while a part of it is missing.

    Raises ValueError if it is no answer of HTTP/1.1 with a Content-Length, or if more follows: one request is out
    on a connection at a time.
    """
    end = received.find(HEAD_END)
    if end < 0:
        return None
    missing = end + len(HEAD_END) + _length(received[:end]) - len(received)
    if missing < 0 or not received.startswith(VERSION):
        raise ValueError(f"no answer to the one request: {received[:100]!r}")
    return int(received[len(VERSION) : len(VERSION) + 3]) if not missing else None


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(LENGTH)
    if not found:
        raise ValueError(f"an answer without Content-Length: {head[:100]!r}")
    return int(rest.partition(b"\r\n")[0])

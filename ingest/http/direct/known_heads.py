"""Remembers the heads of events. A client sends the same few heads again and again, so most requests need no parser."""

import re

from ingest.http.direct.head import Head, announced_bytes

HEADS_MAX = 1_024
"""Accepted heads that a worker remembers, and as many refused ones. When it knows more, it forgets all of a kind."""
HEAD_BYTES_MAX = 1_024
"""A longer head is not remembered."""
REQUEST_LINE = b"POST "
END = b"\r\n\r\n"
OWN = re.compile(
    rb"\r\n(date|idempotency-key|traceparent|tracestate|x-amzn-trace-id|x-b3-[a-z]+|x-correlation-id|x-request-id): "
    rb"([!-~](?:[ -~]{0,254}[!-~])?)(?=\r\n|\Z)",
    re.IGNORECASE,
)
"""Headers of which each request has its own value. They are no part of what is remembered."""
FRAMING = ("expect", "transfer-encoding", "upgrade")
"""With one of these headers the body needs the parser."""

Heads = dict[bytes, tuple[Head, int]]
"""The bytes of a head without `END` → the parsed head, and the length of the body that follows."""


class KnownHeads:
    """The same bytes have the same meaning. So a head that the parser has read once is not parsed again."""

    def __init__(self) -> None:
        self._accepted: Heads = {}
        self._refused: Heads = {}
        """Apart from the others, so that requests with wrong tokens do not push them out."""

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """Return head and body if `data` is one whole request with a known head."""
        text, end, body = data.partition(END)
        if not end:
            return None
        known = self._accepted.get(text) or self._refused.get(text)
        if known:
            return (known[0], body) if len(body) == known[1] else None
        own = OWN.findall(text)
        known = self._known(OWN.sub(b"", text)) if own else None
        head = known[0].having(own) if known and len(body) == known[1] else None
        return (head, body) if head else None

    def learn(self, data: bytes, head: Head, *, accepted: bool) -> None:
        """Remember the head of an event, which the parser has read at the start of `data`."""
        text = data.partition(END)[0]
        own = OWN.findall(text)
        rest = head.without(own)
        if _is_plain(text, head) and len(rest.headers.items()) + len(own) == len(head.headers.items()):
            heads = self._accepted if accepted else self._refused
            if len(heads) >= HEADS_MAX:
                heads.clear()
            heads[OWN.sub(b"", text)] = rest, announced_bytes(head.headers)

    def _known(self, text: bytes) -> tuple[Head, int] | None:
        return self._accepted.get(text) or self._refused.get(text)


def _is_plain(text: bytes, head: Head) -> bool:
    """Return True if `text` is certainly the whole head without `END`: lines of one header each, after the first."""
    headers = head.headers
    breaks = len(headers.items())
    return (
        len(text) <= HEAD_BYTES_MAX
        and text.startswith(REQUEST_LINE)
        and text.count(b"\r\n") == text.count(b"\n") == text.count(b"\r") == breaks
        and head.http_version == "1.1"
        and head.keep_alive
        and "content-length" in headers
        and not any(name in headers for name in FRAMING)
    )

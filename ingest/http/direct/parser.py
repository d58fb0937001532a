"""Parses the bytes of a connection into requests, by httptools (llhttp, strict)."""

import logging
import re
from typing import Protocol

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from ingest.http.direct import limits
from ingest.http.direct.head import Head, RequestHeaders
from ingest.http.direct.response import CHUNKED

log = logging.getLogger("ingest.listener")

HTTP_1 = ("1.1", "1.0")
HTTP_2_PREFACE = b"*"
_ABSOLUTE = re.compile(rb"https?://(?:[\w.-]+|\[[\da-fA-F:.]+\])(?::\d{1,5})?(?:[/?]|$)", re.IGNORECASE)
"""The begin of a target in absolute form: scheme, host and port."""


class Receiver(Protocol):
    """Gets what was parsed."""

    @property
    def ends(self) -> bool: ...
    def begin_head(self) -> None: ...
    def receive_head(self, head: "Head", refusal: tuple[int, str] | None) -> None: ...
    def receive_part(self, part: bytes) -> None: ...
    def receive_end(self) -> None: ...
    def refuse_head(self, status: int, message: str) -> None: ...
    def refuse_malformed(self, message: str) -> None: ...
    def abort(self) -> None: ...


class RequestParser:
    """The methods `on_…` are httptools' callbacks, which it calls from `feed_data`."""

    def __init__(self, receiver: Receiver) -> None:
        self.in_head = False
        """The head of the next request has begun."""
        self._receiver = receiver
        self._parser = HttpRequestParser(self)
        self._target = b""
        self._pairs: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._upgrading: Head | None = None
        """The head asks for another protocol, which the listener ignores as RFC 9110 allows."""
        self._reparsing = False
        """The parser reads the framing of a request a second time, without its Upgrade header."""

    def feed(self, data: bytes) -> None:
        """Parse bytes. Never raises: the connection refuses what is no valid HTTP/1.1."""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as exc:
            self._ignore_upgrade(data[exc.args[0] :])
        except HttpParserCallbackError:
            log.exception("a connection failed")
            self._receiver.abort()
        except (HttpParserError, HttpParserInvalidURLError) as exc:
            self._refuse(str(exc))
        if self.in_head:
            self._head_bytes += len(data)
            if self._head_bytes > limits.HEAD_BYTES_MAX:
                self.in_head = False
                message = f"The head of the request has more than {limits.HEAD_BYTES_MAX} bytes."
                self._receiver.refuse_head(431, message)

    def on_message_begin(self) -> None:
        if self._reparsing or self._receiver.ends:
            return
        self._target = b""
        self._pairs = []
        self._head_bytes = 0
        self.in_head = True
        self._receiver.begin_head()

    def on_url(self, url: bytes) -> None:
        if self.in_head:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # trailers are ignored
            self._pairs.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if not self.in_head:
            self._reparsing = False
            return
        self.in_head = False
        parser = self._parser
        head = Head(
            parser.get_method().decode(),
            self._target,
            parser.get_http_version(),
            RequestHeaders(self._pairs),
            parser.should_keep_alive(),
        )
        if parser.should_upgrade():
            self._upgrading = head
        self._receiver.receive_head(head, self._refusal_of(head))

    def on_body(self, part: bytes) -> None:
        self._receiver.receive_part(part)

    def on_message_complete(self) -> None:
        if not self._upgrading:
            self._receiver.receive_end()

    def _refusal_of(self, head: Head) -> tuple[int, str] | None:
        """Return status and message if the listener does not take this head."""
        refusal: tuple[int, str] | None = None
        if head.http_version not in HTTP_1:
            refusal = 400, "This listener speaks HTTP/1.1 and HTTP/1.0."
        elif head.method == "CONNECT":
            refusal = 405, "This is no proxy."
        elif not head.target.startswith(b"/") and head.target != b"*" and not _ABSOLUTE.match(head.target):
            refusal = 400, "The request's target is not valid."
        elif len(head.target) > limits.TARGET_BYTES_MAX:
            refusal = 414, f"The request's target has more than {limits.TARGET_BYTES_MAX} bytes."
        elif len(self._pairs) > limits.HEADERS_MAX:
            refusal = 431, f"The request has more than {limits.HEADERS_MAX} headers."
        elif head.headers.get("transfer-encoding", CHUNKED[1]).lower() != CHUNKED[1]:
            refusal = 400, "The only Transfer-Encoding is chunked."
        return refusal

    def _refuse(self, reason: str) -> None:
        self.in_head = False
        if self._target == HTTP_2_PREFACE and "PRI" in reason:
            self._receiver.refuse_head(400, "This listener speaks no HTTP/2. INGEST_LISTENER=granian does.")
        else:
            self._receiver.refuse_malformed(f"This is no valid HTTP/1.1: {reason}.")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the body of a request that asks for another protocol. The parser has left it out."""
        head, self._upgrading = self._upgrading, None
        if head is None or self._receiver.ends:
            return
        framing = [name for name in ("content-length", "transfer-encoding") if name in head.headers]
        lines = [f"{name}: {head.headers.get(name)}" for name in framing]
        lines += [] if head.keep_alive else ["connection: close"]
        self._parser = HttpRequestParser(self)
        self._reparsing = True
        self.feed("\r\n".join(["POST / HTTP/1.1", *lines, "", ""]).encode())
        if rest and not self._receiver.ends:
            self.feed(rest)

"""An HTTP client that sends exactly the given bytes, and reads any answer."""

import contextlib
import json
import select
import socket
import struct
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from tests.running import TOKEN

ANSWER_SECONDS = 30.0
API = "/api/call-events"
BATCH = "/api/call-events/batch"


def head(method: str, path: str, *lines: str, version: str = "1.1") -> bytes:
    """Return a request's head; each of `lines` is a header."""
    text = "\r\n".join([f"{method} {path} HTTP/{version}", "Host: localhost", *lines])
    return text.encode("latin-1") + b"\r\n\r\n"


def post(body: bytes, *lines: str, path: str = API, token: str | None = TOKEN, version: str = "1.1") -> bytes:
    """Return a whole request with Content-Length; without the token's header if `token` is None."""
    return post_head(len(body), *lines, path=path, token=token, version=version) + body


def post_head(length: int, *lines: str, path: str = API, token: str | None = TOKEN, version: str = "1.1") -> bytes:
    """Return the head of a POST whose body has `length` bytes."""
    return head("POST", path, *_token(token), f"Content-Length: {length}", *lines, version=version)


def chunked_head(*lines: str, path: str = API) -> bytes:
    """Return the head of a POST with a chunked body."""
    return head("POST", path, *_token(TOKEN), "Transfer-Encoding: chunked", *lines)


def chunk(content: bytes, extension: bytes = b"") -> bytes:
    """Return one chunk. An empty chunk ends the body; trailers and an empty line follow it."""
    return b"%x%b\r\n%b\r\n" % (len(content), extension, content)


LAST_CHUNK = b"0\r\n\r\n"


class Reply(msgspec.Struct, frozen=True):
    """An answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RawConnection:
    """One TCP connection: `with RawConnection(port) as connection: ...`"""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
        self._input = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._input.close()
        self._socket.close()

    def send(self, *parts: bytes) -> None:
        """Send each part separately, if possible in its own packet."""
        for part in parts:
            self._socket.sendall(part)

    def flood(self, parts: Iterable[bytes]) -> int:
        """Send until all is sent or the other side has closed. Return the number of sent bytes."""
        sent = 0
        try:
            for part in parts:
                self._socket.sendall(part)
                sent += len(part)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return sent

    def reply(self, to: str = "POST") -> Reply:
        """Read the next answer, which may be an interim one. Raises EOFError if the connection ends before it."""
        line = self._line()
        status = int(line.split()[1])
        headers = {}
        while line := self._line():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        empty = to == "HEAD" or status < 200
        return Reply(status, headers, b"" if empty else self._input.read(int(headers.get("content-length", 0))))

    def is_closed(self) -> bool:
        """Wait until the other side closes. Returns False if data arrives instead. Raises TimeoutError."""
        try:
            return self._input.read(1) == b""
        except ConnectionResetError:
            return True

    def has_answer(self) -> bool:
        """Return True if data has arrived, or the other side has closed."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def read_to_end(self) -> bytes:
        """Read all data until the other side closes. Raises TimeoutError."""
        try:
            return self._input.read()
        except ConnectionResetError:
            return b""

    def reset(self) -> None:
        """Abort with RST, as the kernel does for a killed client."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._input.close()
        self._socket.close()

    def half_close(self) -> None:
        """Close the sending side."""
        with contextlib.suppress(OSError):  # the other side may have closed
            self._socket.shutdown(socket.SHUT_WR)

    def _line(self) -> str:
        line = self._input.readline()
        if not line:
            raise EOFError("the connection ended before the answer")
        return line.decode("latin-1").rstrip("\r\n")


def ask(port: int, request: bytes, to: str = "POST") -> Reply:
    """Send one request on a new connection, and return the answer."""
    with RawConnection(port) as connection:
        connection.send(request)
        return connection.reply(to)


def _token(token: str | None) -> list[str]:
    return [] if token is None else [f"X-API-TOKEN: {token}"]

"""An HTTP client that sends exactly the bytes it is given, and reads whatever comes."""

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

ANSWER_SECONDS = 10.0
API = "/api/call-events"
BATCH = "/api/call-events/batch"


def head(method: str, path: str, *lines: str, version: str = "1.1") -> bytes:
    """A request's head; each of `lines` is a header."""
    text = "\r\n".join([f"{method} {path} HTTP/{version}", "Host: localhost", *lines])
    return text.encode("latin-1") + b"\r\n\r\n"


def post(body: bytes, *lines: str, path: str = API, token: str | None = TOKEN, version: str = "1.1") -> bytes:
    """A whole request with Content-Length; without its token if that is None."""
    return post_head(len(body), *lines, path=path, token=token, version=version) + body


def post_head(length: int, *lines: str, path: str = API, token: str | None = TOKEN, version: str = "1.1") -> bytes:
    """The head of a POST whose body has `length` bytes."""
    return head("POST", path, *_token(token), f"Content-Length: {length}", *lines, version=version)


def chunked_head(*lines: str, path: str = API) -> bytes:
    """The head of a POST whose body comes in chunks."""
    return head("POST", path, *_token(TOKEN), "Transfer-Encoding: chunked", *lines)


def chunk(content: bytes, extension: bytes = b"") -> bytes:
    """One chunk; an empty one ends the body, save for trailers and an empty line."""
    return b"%x%b\r\n%b\r\n" % (len(content), extension, content)


LAST_CHUNK = b"0\r\n\r\n"


class Reply(msgspec.Struct, frozen=True):
    """An answer; header names are in lower case."""

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
        """Each part in a packet of its own, as far as that is ours to say."""
        for part in parts:
            self._socket.sendall(part)

    def flood(self, parts: Iterable[bytes]) -> int:
        """Send until all is sent or the other side has closed; how many bytes went out."""
        sent = 0
        try:
            for part in parts:
                self._socket.sendall(part)
                sent += len(part)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return sent

    def reply(self, to: str = "POST") -> Reply:
        """The next answer, interim ones included. Raises EOFError if the connection ends before it."""
        line = self._line()
        status = int(line.split()[1])
        headers = {}
        while line := self._line():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        empty = to == "HEAD" or status < 200
        return Reply(status, headers, b"" if empty else self._input.read(int(headers.get("content-length", 0))))

    def is_closed(self) -> bool:
        """Wait for the other side to close; False if something comes instead. Raises TimeoutError."""
        try:
            return self._input.read(1) == b""
        except ConnectionResetError:
            return True

    def has_answer(self) -> bool:
        """Whether something has come, or the other side has closed."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def read_to_end(self) -> bytes:
        """All that comes until the other side closes. Raises TimeoutError."""
        try:
            return self._input.read()
        except ConnectionResetError:
            return b""

    def reset(self) -> None:
        """Break off with RST, as a client does whose process dies."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._input.close()
        self._socket.close()

    def half_close(self) -> None:
        """Send no more."""
        with contextlib.suppress(OSError):  # the other side may have closed
            self._socket.shutdown(socket.SHUT_WR)

    def _line(self) -> str:
        line = self._input.readline()
        if not line:
            raise EOFError("the connection ended before the answer")
        return line.decode("latin-1").rstrip("\r\n")


def ask(port: int, request: bytes, to: str = "POST") -> Reply:
    """The answer to one request, on a connection of its own."""
    with RawConnection(port) as connection:
        connection.send(request)
        return connection.reply(to)


def _token(token: str | None) -> list[str]:
    return [] if token is None else [f"X-API-TOKEN: {token}"]

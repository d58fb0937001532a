"""The bytes of responses in HTTP/1.1."""

from collections.abc import Iterable
from email.utils import formatdate
from functools import cache
from http import HTTPStatus

from ingest.http.responses import QUEUED, Header

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Header = ("connection", "close")
KEEP_ALIVE: Header = ("connection", "keep-alive")
CHUNKED: Header = ("transfer-encoding", "chunked")
LAST_CHUNK = b"0\r\n\r\n"


def response_head(status: int, headers: Iterable[Header], date: str) -> bytes:
    """Return the status line and the headers with this Date. A header of a handler never holds a line break."""
    lines = [_status_line(status), *(f"{name}: {value}" for name, value in headers), f"date: {date}", "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class QueuedResponse:
    """The bytes of the response 200 to an event, made once a second, as they hold the time."""

    def __init__(self) -> None:
        self._second = -1
        self.date = ""
        self.keep_alive = b""
        self.close = b""

    def renew(self, second: int) -> None:
        """Take this Unix time."""
        if second != self._second:
            self._second = second
            self.date = date = formatdate(second, usegmt=True)
            headers = [*QUEUED.headers, ("content-length", str(len(QUEUED.body)))]
            self.keep_alive = response_head(200, headers, date) + QUEUED.body
            self.close = response_head(200, [*headers, CLOSE], date) + QUEUED.body


@cache
def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"

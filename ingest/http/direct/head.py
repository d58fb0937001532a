"""The head of a request: its headers and its target, as RSGI's scope has them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from ingest.http.body_reader import LENGTH_DIGITS_MAX

TARGETS_MAX = 256
"""Split targets that a worker remembers: a client posts to the same few."""

Pairs = Sequence[tuple[bytes, bytes]]
"""Names and values of headers, in the order in which they were sent."""


class RequestHeaders:
    """See `ingest.http.rsgi.Headers`."""

    __slots__ = ("_first", "_pairs")

    def __init__(self, pairs: Pairs) -> None:
        """The names are in lower case."""
        self._pairs = pairs
        self._first = {name.decode(): _text(value) for name, value in reversed(pairs)}

    def __contains__(self, name: str) -> bool:
        return name in self._first

    def get(self, name: str, default: Any = None) -> Any:
        value = self._first.get(name)
        return default if value is None else value

    def having(self, pairs: Pairs) -> "RequestHeaders | None":
        """Return a copy with these headers too. None if a name of them is there twice, as the first one counts."""
        more = {name.decode(): _text(value) for name, value in pairs}
        if len(more) < len(pairs) or more.keys() & self._first.keys():
            return None
        copy = RequestHeaders(())
        copy._pairs = [*self._pairs, *pairs]
        copy._first = self._first | more
        return copy

    def without(self, pairs: Pairs) -> "RequestHeaders":
        return RequestHeaders([pair for pair in self._pairs if pair not in pairs])

    def items(self) -> list[tuple[str, str]]:
        return [(name.decode(), value.decode()) for name, value in self._pairs if value.isascii()]


def _text(value: bytes) -> str | None:
    """None if it is not ASCII."""
    return value.decode() if value.isascii() else None


class Head(NamedTuple):
    method: str
    target: bytes
    http_version: str
    headers: RequestHeaders
    keep_alive: bool

    def having(self, pairs: Pairs) -> "Head | None":
        """Return a copy with these headers too. None if a name of them is there twice."""
        headers = self.headers.having([(name.lower(), value) for name, value in pairs])
        return self._replace(headers=headers) if headers else None

    def without(self, pairs: Pairs) -> "Head":
        """Return a copy without these headers."""
        return self._replace(headers=self.headers.without([(name.lower(), value) for name, value in pairs]))


def announced_bytes(headers: RequestHeaders) -> int:
    """Return the Content-Length, which the parser has checked, or 0. Only zeros precede its last digits."""
    return int(headers.get("content-length", "0")[-LENGTH_DIGITS_MAX:])


@lru_cache(maxsize=TARGETS_MAX)
def split_target(target: bytes) -> tuple[str, str, str | None]:
    """Return path (decoded), query string, and the authority of a target in absolute form, else None.

    The parser has checked the target, which is visible ASCII.
    """
    text, authority = target.decode("latin-1"), None
    if not text.startswith("/") and "://" in text:
        authority, slash, rest = text.partition("://")[2].partition("/")
        text = slash + rest or "/"
    path, _, query = text.partition("?")
    return (unquote(path) if "%" in path else path), query, authority

"""HTTP responses: the map from errors to statuses, and the bodies of the contract."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from ingest import errors
from ingest.http.rsgi import HttpProtocol

Header = tuple[str, str]

JSON: Header = ("content-type", "application/json")
RETRY_AFTER_SECONDS = 1

STATUSES: Mapping[type[errors.IngestError], int] = {
    errors.Unauthenticated: 401,
    errors.Malformed: 400,
    errors.UnknownSource: 404,
    errors.Invalid: 422,
    errors.RowRefused: 422,
    errors.KeyReused: 422,
    errors.BodyTooLarge: 413,
    errors.BodyTimeout: 408,
    errors.UnsupportedEncoding: 415,
    errors.MethodNotAllowed: 405,
    errors.RateLimited: 429,
    errors.Draining: 503,
    errors.Overloaded: 503,
}
"""All other errors have status 500."""


_CLOSE: Header = ("connection", "close")
_LATER: Header = ("retry-after", str(RETRY_AFTER_SECONDS))

HEADERS: Mapping[type[errors.IngestError], tuple[Header, ...]] = {
    errors.Unauthenticated: (("www-authenticate", 'Token realm="call-events"'),),
    errors.UnsupportedEncoding: (("accept-encoding", "gzip, zstd"),),
    errors.BodyTooLarge: (_CLOSE,),  # the rest of the body is not read
    errors.BodyTimeout: (_CLOSE,),
    errors.Overloaded: (_LATER,),
    errors.Draining: (_LATER, _CLOSE),
}


class Response(msgspec.Struct, frozen=True):
    """Granian adds the Content-Length header."""

    status: int
    headers: list[Header]
    body: bytes

    @classmethod
    def make(cls, status: int, content: Any, headers: tuple[Header, ...] = ()) -> "Response":
        return cls(status, [JSON, *headers], msgspec.json.encode(content))

    def having(self, header: Header) -> "Response":
        """Return a copy with this header; it replaces a header of the same name."""
        others = [other for other in self.headers if other[0] != header[0]]
        return Response(self.status, [*others, header], self.body)

    def send(self, protocol: HttpProtocol) -> None:
        protocol.response_bytes(self.status, self.headers, self.body)


QUEUED = Response.make(200, {"status": "queued"})


def response_to(error: errors.IngestError) -> Response:
    status = STATUSES.get(type(error), 500)
    if isinstance(error, errors.Invalid):
        return Response.make(status, {"message": str(error), "errors": error.errors})
    if isinstance(error, errors.RowRefused):
        text = "The database refuses this JSON: " + str(error)
        return Response.make(status, {"message": "The given data was invalid.", "errors": {"payload": [text]}})
    return _with_message(status, str(error), _headers(error))


@lru_cache(maxsize=256)
def _with_message(status: int, message: str, headers: tuple[Header, ...]) -> Response:
    """Return a response that many refused requests have in common. Nothing changes its list of headers."""
    return Response.make(status, {"message": message}, headers)


def _headers(error: errors.IngestError) -> tuple[Header, ...]:
    if isinstance(error, errors.MethodNotAllowed):
        return (("allow", error.allow),)
    if isinstance(error, errors.RateLimited):
        return (("retry-after", str(max(1, math.ceil(error.wait_seconds)))),)
    return HEADERS.get(type(error), ())

"""Fuzzes the direct listener with byte streams in arbitrary splits: `python -m tests.fuzz.streams COUNT [SEED]`.

A stream is made of valid requests, ambiguous ones and noise, with some bytes changed. It is received three times:
whole, in random pieces, and request by request, with the heads that all earlier streams have taught. All must give the
same responses. Each valid request before the first damage must be answered.
"""

import random
import re
import resource
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from ingest.http.direct.connection import Connection
from ingest.http.direct.known_heads import KnownHeads
from ingest.http.direct.request import Request
from ingest.http.direct.response import QueuedResponse
from ingest.http.direct.shared import Shared
from ingest.http.responses import QUEUED, Response

PIECES = [
    b"POST /api/call-events HTTP/1.1\r\nHost: x\r\nX-API-TOKEN: t\r\nContent-Length: 4\r\n\r\n{ab}",
    b"POST /api/call-events HTTP/1.1\r\nX-Request-Id: 17\r\nHost: x\r\nContent-Length: 4\r\n\r\n{ab}",
    b"POST /api/call-events HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nX-Request-Id: 2025\r\n\r\n{ab}",
    b"POST /in/twilio HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
    b"POST /api/call-events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{ab}\r\n0\r\nTrailer: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /api/call-events HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\n{ab}",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://x/a?b=c HTTP/1.1\r\n\r\n",
]
"""Valid requests that keep the connection."""
DAMAGE = [
    b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nabcd",
    b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"GET /\r\n\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"X: " + b"a" * 5_000,
]
OF_IDS = (403, 405, 409, 410)
"""Statuses by the length of a request's id, so that a wrong id shows."""
KNOWN = KnownHeads()
"""The heads of all streams."""
STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d\d\d) ")
INTERIM = b"100"


class FakeLoop:
    """A loop without time, whose calls run at once after each received piece."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[], None]] = deque()

    def time(self) -> float:
        return 0.0

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def run(self) -> None:
        while self.calls:
            self.calls.popleft()()


class FakeTransport:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    abort = close
    write_eof = close

    def set_write_buffer_limits(self, high: int) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def get_extra_info(self, _: str) -> None:
        return None


class FakeEvents:
    def receive(self, request: Request, part: bytes) -> None:
        request.chunks.append(part)

    def complete(self, request: Request) -> None:
        self.take_whole(request, b"".join(request.chunks))

    def take_whole(self, request: Request, body: bytes) -> None:
        given = request.headers.get("x-request-id", "")
        answer = Response.make(OF_IDS[len(given) % len(OF_IDS)], {}) if given else QUEUED
        request.respond(answer if body == b"{ab}" else Response.make(400, {}))

    def cut(self, request: Request, malformed: str | None) -> None:
        request.respond(Response.make(400 if malformed else 408, {}))


class FakeShared:
    """Admits every event, and answers all else 404 at once."""

    def __init__(self, known_heads: KnownHeads) -> None:
        self.events = FakeEvents()
        self.known_heads = known_heads
        self.queued = QueuedResponse()
        self.queued.renew(0)
        self.draining = False
        self.body_timeout_seconds = 1.0
        self.requests = self.received_bytes = self.malformed = 0

    def begin(self, request: Request) -> bool:
        if request.method == "POST" and request.path == "/api/call-events":
            request.admitted = cast(Any, self)
            request.proceed()
            return True
        request.respond(Response.make(404, {}))
        return False


def received(pieces: Sequence[bytes], known_heads: KnownHeads | None = None) -> tuple[list[bytes], bool]:
    """Receive the pieces on a new connection. Return the statuses of its responses, and whether it has ended."""
    loop, transport = FakeLoop(), FakeTransport()
    shared = FakeShared(known_heads or KnownHeads())
    connection = Connection(cast(Shared, shared), cast(Any, loop), lambda _: None)
    connection.connection_made(cast(Any, transport))
    for piece in pieces:
        if transport.closed:
            break
        connection.data_received(piece)
        loop.run()
    statuses = [status for part in transport.sent for status in STATUS_LINE.findall(part) if status != INTERIM]
    return statuses, transport.closed


def stream(chance: random.Random) -> tuple[list[bytes], int]:
    """Return the requests of a stream, and the number of valid ones at its begin."""
    parts: list[bytes] = []
    valid: int | None = None
    for _ in range(chance.randint(1, 6)):
        part = chance.choice(PIECES)
        if chance.random() < 0.3:
            valid = len(parts) if valid is None else valid
            part = chance.choice(DAMAGE) if chance.random() < 0.5 else _changed(part, chance)
        parts.append(part)
    return parts, len(parts) if valid is None else valid


def _changed(part: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(part))
    insert = bytes(chance.choice(b"\r\n\0 :;,\t0aZ\xff") for _ in range(chance.randint(0, 2)))
    return part[:at] + insert + part[at + chance.randint(0, 3) :]


def pieces_of(content: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.sample(range(1, len(content)), min(chance.randint(0, 8), len(content) - 1)))
    return [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]


def check(chance: random.Random) -> None:
    """Check one stream. Raises `AssertionError`, which names it."""
    parts, valid = stream(chance)
    content = b"".join(parts)
    pieces = pieces_of(content, chance)
    whole, split, known = received([content]), received(pieces), received(parts, KNOWN)
    assert whole == split, (content, pieces, whole, split)
    assert whole == known, (parts, whole, known)
    assert len(whole[0]) >= valid, (content, whole, valid)
    assert set(whole[0][:valid]) <= {b"200", b"404", *(b"%d" % status for status in OF_IDS)}, (content, whole, valid)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(count: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(count // 10):
        check(chance)
    warm = peak_mib()
    for _ in range(count - count // 10):
        check(chance)
    print(f"{count:,} streams of seed {seed}: whole and in pieces they get the same responses.")
    print(f"Peak memory: {warm:.1f} MiB after a tenth of them, {peak_mib():.1f} MiB at the end.")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32))

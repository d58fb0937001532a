"""A server in place of the service that answers each event as a test wants, and notes what was posted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from urllib.parse import parse_qsl

import msgspec

from tests.services import wait_until
from tests.services.sip import call, call_as
from tests.telephony.calls import Line

OK = 200
REFUSED = (422,)
FAILING = (408, 429, 500, 503, None, OK)
SILENT = 0
HANGING = (SILENT, OK)
"""The answers to the same event, one after the other. None closes the connection without one, SILENT keeps it open."""
ORDINARY_CALLS = 10
POSTED_SECONDS = 120.0


class Post(msgspec.Struct, frozen=True):
    """An event that was posted, with its key. `status` is that of the answer."""

    key: str
    body: bytes
    status: int | None

    @property
    def caller(self) -> str:
        fields = json.loads(self.body) if self.body.startswith(b"{") else dict(parse_qsl(self.body.decode()))
        return str(fields["from_number"])


class Answering:
    """Answers the callers `refused`, `failing` and `hanging` as their names say, and takes all other events."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.ended = Event()
        self._lock = Lock()

    def answer(self, key: str, body: bytes) -> int | None:
        by_caller = {"refused": REFUSED, "failing": FAILING, "hanging": HANGING}
        answers = by_caller.get(Post(key, body, None).caller, (OK,))
        with self._lock:
            earlier = sum(post.key == key for post in self.posts)
            status = answers[min(earlier, len(answers) - 1)]
            self.posts.append(Post(key, body, status))
        return status

    def taken(self) -> set[str]:
        """Return the keys of the events that were taken."""
        return {post.key for post in self.posts if post.status == OK}

    def of(self, caller: str) -> dict[str, list[Post]]:
        """Return the posts of a caller by key."""
        found: dict[str, list[Post]] = {}
        for post in self.posts:
            if post.caller == caller:
                found.setdefault(post.key, []).append(post)
        return found


@contextmanager
def answering() -> Iterator[tuple[Answering, int]]:
    """Serve on a free port of 127.0.0.1, and yield what was posted, and the port."""
    noted = Answering()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = noted.answer(self.headers["idempotency-key"], body)
            if status is SILENT:
                noted.ended.wait()
            if not status:
                self.close_connection = True
                return
            text = b'{"status":"queued"}' if status == OK else b'{"message":"no"}'
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: object) -> None:
            """Write no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield noted, server.server_port
    finally:
        noted.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def check_answers(line: Line, noted: Answering) -> None:
    """Call as each caller. A refused event is posted once, one without success until it is taken, all others once."""
    for caller in (b"refused", b"failing", b"hanging"):
        assert call_as(caller, line.port, line.folder, line.dialed)
    call(line.port, ORDINARY_CALLS, ORDINARY_CALLS, line.folder, line.dialed)
    events = (ORDINARY_CALLS + 2) * line.events_per_call
    assert wait_until(lambda: len(noted.taken()) == events, POSTED_SECONDS), noted.posts
    assert [len(posts) for posts in noted.of("refused").values()] == [1] * line.events_per_call
    failing = noted.of("failing").values()
    assert [tuple(post.status for post in posts) for posts in failing] == [FAILING] * line.events_per_call
    assert all(len({post.body for post in posts}) == 1 for posts in failing)
    hanging = noted.of("hanging").values()
    assert [tuple(post.status for post in posts) for posts in hanging] == [HANGING] * line.events_per_call
    assert [len(posts) for posts in noted.of("sipp").values()] == [1] * ORDINARY_CALLS * line.events_per_call

"""One request: the answer's parts, and a connection that the service closed meanwhile."""

import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from ingest.cli.send.service import NoAnswer, Service
from ingest.cli.send.waiting import ASKED_SECONDS_MAX
from ingest.cli.shell.service_url import Target
from ingest.errors import SettingsError
from tests.services import free_port

HEADERS = {"Idempotency-Key": "key"}


class Server:
    """Answers each request with the next answer, over HTTP/1.1. An empty one closes the connection without a word."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append((self.path, dict(self.headers.items()), body))
                status, headers, content = outer.answers.pop(0)
                if not status:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def service(server: Server) -> Iterator[Service]:
    client = Service(Target(server.url), "a-token")
    yield client
    client.close()


def test_request_has_the_token_and_the_headers(server: Server, service: Service) -> None:
    server.answers = [(200, {"Retry-After": "7"}, json.dumps({"status": "queued"}).encode())]

    reply = service.post("/in/x?uuid=1", b"{}", HEADERS)

    ((path, headers, body),) = server.asked
    assert (path, body, headers["X-API-TOKEN"], headers["Idempotency-Key"]) == ("/in/x?uuid=1", b"{}", "a-token", "key")
    assert (reply.status, reply.wait_seconds, reply.answer, reply.is_page) == (200, 7, {"status": "queued"}, False)


@pytest.mark.parametrize(
    ("content", "message", "is_page"),
    [(b" <!DOCTYPE html>x", " <!DOCTYPE html>x", True), (b"[1]", "[1]", False), (b"\xff", "\ufffd", False)],
)
def test_answer_in_another_form_becomes_a_message(
    server: Server, service: Service, content: bytes, message: str, is_page: bool
) -> None:
    server.answers = [(200, {"Retry-After": "Fri, 31 Jan 2025 13:45:00 GMT"}, content)]

    reply = service.post("/", b"{}", HEADERS)

    assert (reply.answer, reply.is_page, reply.wait_seconds) == ({"message": message}, is_page, 0)
    assert reply.may_succeed_later is is_page


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("7", 7, 7),
        ("date", 50, 60),
        ("9" * 400, ASKED_SECONDS_MAX, ASKED_SECONDS_MAX),
        ("Fri, 31 Dec 9999 23:59:59 GMT", ASKED_SECONDS_MAX, ASKED_SECONDS_MAX),
        ("-7", 0, 0),
        ("soon", 0, 0),
        ("Fri, 99 Jan 2025 13:45:00 GMT", 0, 0),
    ],
)
def test_pause_is_asked_for_in_seconds_or_by_a_date(
    server: Server, service: Service, text: str, least: float, most: float
) -> None:
    server.answers = [(503, {"Retry-After": formatdate(time.time() + 60) if text == "date" else text}, b"{}")]

    assert least <= service.post("/", b"{}", HEADERS).wait_seconds <= most


@pytest.mark.parametrize(
    ("url", "token", "said"),
    [
        ("http://a/api/call-events", "a-token", "has a path"),
        ("http://a?x=1", "a-token", "has a path"),
        ("http://a", "tökən", "no HTTP header can have"),
        ("http://a", "a\r\nb", "no HTTP header can have"),
    ],
)
def test_address_or_token_that_cannot_work_is_refused(url: str, token: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Service(Target(url), token)


def test_connection_that_was_closed_meanwhile_is_opened_again(server: Server, service: Service) -> None:
    server.answers = [(200, {}, b"{}"), (0, {}, b""), (200, {}, b"{}")]

    statuses = [service.post("/", b"{}", HEADERS).status for _ in range(2)]

    assert (statuses, len(server.asked)) == ([200, 200], 3)


def test_new_connection_without_an_answer_is_no_answer(server: Server, service: Service) -> None:
    server.answers = [(0, {}, b"")]

    with pytest.raises(NoAnswer, match="no answer: "):
        service.post("/", b"{}", HEADERS)


def test_nobody_listens_and_no_url() -> None:
    with pytest.raises(NoAnswer, match="refused"):
        Service(Target(f"http://127.0.0.1:{free_port()}"), "a-token").post("/", b"", {})
    with pytest.raises(SettingsError, match="is not of the form"):
        Service(Target("localhost:8000"), "a-token")

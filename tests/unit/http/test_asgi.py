"""Requests that the adapter passes to an ASGI application."""

from typing import Any

import pytest

from ingest.http.asgi import AsgiAdapter, Message, Receive, Send, asgi_scope
from tests.unit.fakes import FakeHeaders, FakeProtocol, FakeScope


class Application:
    """Reads the whole request, then sends the given messages."""

    def __init__(self, *messages: Message) -> None:
        self._messages = messages
        self.scope: Message = {}
        self.received: list[Message] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.scope = scope
        while not self.received or self.received[-1]["type"] != "http.disconnect":
            self.received.append(await receive())
        for message in self._messages:
            await send(message)


START: Message = {"type": "http.response.start", "status": 404, "headers": [(b"x-name", b"caf\xe9")]}


def body(content: bytes, **more: Any) -> Message:
    return {"type": "http.response.body", "body": content, **more}


@pytest.fixture
def scope() -> FakeScope:
    return FakeScope(FakeHeaders({"host": "example.com", "accept": "*/*"}), "GET", "/a b", "q=%201")


async def test_head_of_the_request_becomes_the_scope(scope: FakeScope) -> None:
    application = Application(START, body(b""))
    await AsgiAdapter(application)(scope, FakeProtocol())

    assert {key: application.scope[key] for key in ("type", "method", "path", "query_string", "client", "server")} == {
        "type": "http",
        "method": "GET",
        "path": "/a b",
        "query_string": b"q=%201",
        "client": ("::1", 50000),
        "server": ("127.0.0.1", 8000),
    }
    assert application.scope["headers"] == [(b"host", b"example.com"), (b"accept", b"*/*")]


@pytest.mark.parametrize(
    ("headers", "host"), [({}, b"h2.example"), ({"host": "own.example"}, b"own.example")], ids=["absent", "present"]
)
def test_authority_replaces_an_absent_host(headers: dict[str, str | None], host: bytes) -> None:
    scope = FakeScope(FakeHeaders(headers), authority="h2.example", http_version="2")

    assert asgi_scope(scope)["headers"] == [(b"host", host)]


async def test_body_of_the_request_comes_in_its_parts(scope: FakeScope) -> None:
    application = Application(START, body(b""))
    await AsgiAdapter(application)(scope, FakeProtocol([b"ab", b"c"]))

    *parts, end, gone = application.received
    assert b"".join(part["body"] for part in parts) == b"abc"
    assert all(part["more_body"] for part in parts)
    assert end == {"type": "http.request", "body": b"", "more_body": False}
    assert gone == {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("messages", "whole", "streamed"),
    [
        ([body(b"all")], b"all", []),
        ([{"type": "http.response.body"}], b"", []),
        ([body(b"a", more_body=True), body(b"", more_body=True), body(b"b"),], b"", [b"a", b"b"]),
    ],
    ids=["whole", "empty", "in parts"],
)  # fmt: skip
async def test_response_is_passed_back(
    scope: FakeScope, messages: list[Message], whole: bytes, streamed: list[bytes]
) -> None:
    protocol = FakeProtocol()
    await AsgiAdapter(Application(START, *messages))(scope, protocol)

    assert protocol.answered
    assert (protocol.answered.status, protocol.answered.headers) == (404, {"x-name": "caf\xe9"})
    assert (protocol.answered.body, protocol.streamed) == (whole, streamed)

"""Handlers that close their connections, and the handling of SIGTERM."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import uvloop

from ingest.http.rsgi import HttpProtocol, Scope
from ingest.server.draining import Sigterm, closing
from tests.unit.fakes import FakeHeaders, FakeProtocol, FakeScope, until


async def echo(scope: Scope, protocol: HttpProtocol) -> None:
    """Read the whole body and send it back; for PUT read and send it in parts."""
    if scope.method == "PUT":
        transport = protocol.response_stream(201, [("a", "b")])
        async for part in protocol:
            await transport.send_bytes(part)
    else:
        protocol.response_bytes(200, [("a", "b")], await protocol())


async def close_itself(_: Scope, protocol: HttpProtocol) -> None:
    protocol.response_bytes(413, [("connection", "close")], b"")


async def test_answer_closes_the_connection() -> None:
    protocol = FakeProtocol([b"abc"])
    await closing(echo)(FakeScope(FakeHeaders({}), "POST"), protocol)

    assert protocol.answered
    assert protocol.answered.headers == {"a": "b", "connection": "close"}
    assert protocol.answered.body == b"abc"


async def test_streamed_answer_closes_the_connection() -> None:
    protocol = FakeProtocol([b"ab", b"c"])
    await closing(echo)(FakeScope(FakeHeaders({}), "PUT"), protocol)

    assert protocol.answered
    assert protocol.answered.headers == {"a": "b", "connection": "close"}
    assert b"".join(protocol.streamed) == b"abc"


async def test_header_is_sent_once() -> None:
    answers: list[list[tuple[str, str]]] = []

    class Recording(FakeProtocol):
        def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            answers.append(headers)

    await closing(close_itself)(FakeScope(FakeHeaders({}), "POST"), Recording())

    assert answers == [[("connection", "close")]]


async def test_http_2_responses_have_no_connection_header() -> None:
    protocol = FakeProtocol()
    await closing(echo)(FakeScope(FakeHeaders({}), "POST", http_version="2"), protocol)

    assert protocol.answered
    assert protocol.answered.headers == {"a": "b"}


@pytest.fixture
async def seen() -> AsyncIterator[list[str]]:
    """The effects of the signals. Granian handles SIGINT."""
    loop = asyncio.get_running_loop()
    effects: list[str] = []
    loop.add_signal_handler(signal.SIGINT, effects.append, "stop")
    yield effects
    loop.remove_signal_handler(signal.SIGTERM)
    loop.remove_signal_handler(signal.SIGINT)


async def test_sigterm_drains_first_and_passes_on_a_sigint(seen: list[str]) -> None:
    sigterm = Sigterm(asyncio.get_running_loop(), 0.01, lambda: seen.append("drain"))
    sigterm.serving()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: len(seen) > 1)

    assert seen == ["drain", "stop"]


async def test_second_sigterm_stops_at_once(seen: list[str]) -> None:
    sigterm = Sigterm(asyncio.get_running_loop(), 3600, lambda: seen.append("drain"))
    sigterm.serving()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: seen)
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: len(seen) > 1)

    assert seen == ["drain", "stop"]


async def test_sigterm_before_the_server_has_started_is_recorded(seen: list[str]) -> None:
    sigterm = Sigterm(asyncio.get_running_loop(), 0.0, lambda: seen.append("drain"))
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: sigterm.received)

    assert seen == []


def test_sigterm_while_the_loop_does_not_run_is_not_lost() -> None:
    seen: list[str] = []
    loop = uvloop.new_event_loop()
    before = signal.getsignal(signal.SIGTERM)
    try:
        loop.add_signal_handler(signal.SIGINT, seen.append, "stop")
        sigterm = Sigterm(loop, 0.0, lambda: seen.append("drain"))
        loop.run_until_complete(asyncio.sleep(0))
        os.kill(os.getpid(), signal.SIGTERM)
        sigterm.serving()
        loop.run_until_complete(asyncio.wait_for(until(lambda: len(seen) > 1), 60))
    finally:
        loop.close()
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    assert seen == ["drain", "stop"]

"""HTTP/1.1 of the direct listener: framing, order, limits and the end of connections."""

import asyncio

import pytest

from ingest.http.direct import limits
from ingest.http.direct.listener import STOP_POLL_SECONDS, DirectListener
from ingest.http.rsgi import HttpProtocol, ProtocolClosed, Scope
from tests.unit.conftest import TOKEN
from tests.unit.fakes import FakeStore, until
from tests.unit.http.direct.conftest import CONNECTIONS_MAX, Application, Connect, Wire
from tests.unit.making import body

EVENTS = "/api/call-events"


def head(method: str, path: str, *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: x", *lines, "", ""]).encode()


def post(content: bytes, *lines: str, path: str = EVENTS) -> bytes:
    return head("POST", path, f"X-API-TOKEN: {TOKEN}", f"Content-Length: {len(content)}", *lines) + content


async def echo(_: Scope, protocol: HttpProtocol) -> None:
    protocol.response_bytes(200, [], await protocol())


async def test_event_is_answered_once_it_is_committed(wire: Wire, store: FakeStore) -> None:
    store.gate.clear()
    wire.send(post(body(call_id="one")))
    await until(lambda: store.tried)
    store.gate.set()

    status, headers, content = await wire.response()
    assert (status, content) == (200, b'{"status":"queued"}')
    assert headers["content-type"] == "application/json"
    assert headers["date"].endswith("GMT")
    assert "connection" not in headers


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_requests_may_come_in_any_pieces(wire: Wire, store: FakeStore, size: int) -> None:
    text = b"".join(post(body(call_id=str(number))) for number in range(3))
    for at in range(0, len(text), size):
        wire.send(text[at : at + size])
        await asyncio.sleep(0)

    assert await wire.statuses(3) == [200, 200, 200]
    assert [event.call_id for commit in store.commits for event in commit.batch.events] == ["0", "1", "2"]


async def test_responses_keep_the_order_of_the_requests(wire: Wire, store: FakeStore, application: Application) -> None:
    store.gate.clear()
    wire.send(post(body()), head("GET", "/nowhere"), post(body()[:-1]), post(body()))
    await until(lambda: application.seen)
    store.gate.set()

    assert await wire.statuses(4) == [200, 404, 400, 200]


async def test_many_requests_at_once_are_all_answered(wire: Wire, listener: DirectListener) -> None:
    count = 20 * limits.PIPELINED_MAX
    wire.send(head("GET", "/nowhere") * count)

    assert await wire.statuses(count) == [404] * count
    assert listener.shared.requests == count


async def test_handler_reads_a_body_in_parts(wire: Wire, application: Application) -> None:
    application.handlers["/echo"] = echo
    wire.send(head("POST", "/echo", "Transfer-Encoding: chunked"), b"3\r\nabc\r\n", b"2;x=y\r\nde\r\n")
    await until(lambda: application.seen)
    wire.send(b"0\r\nTrailer: x\r\n\r\n", head("GET", "/nowhere"))

    assert (await wire.response())[2] == b"abcde"
    assert (await wire.response())[0] == 404


async def test_large_body_is_received_as_the_handler_takes_it(
    wire: Wire, application: Application, listener: DirectListener
) -> None:
    go = asyncio.Event()
    waiting = []

    async def late(scope: Scope, protocol: HttpProtocol) -> None:
        await go.wait()
        protocol.response_bytes(200, [], b"%d" % len(await protocol()))

    application.handlers["/late"] = late
    size = 100 * limits.BODY_BUFFER_BYTES
    wire.send(head("POST", "/late", f"Content-Length: {size}"))
    wire.send(b"a" * size)
    await until(lambda: listener.shared.received_bytes > limits.BODY_BUFFER_BYTES)
    for _ in range(50):
        await asyncio.sleep(0)
        waiting.append(listener.shared.received_bytes)
    go.set()

    assert (await wire.response())[2] == b"%d" % size
    assert max(waiting) < size / 2


async def test_scope_has_the_head_of_the_request(wire: Wire, application: Application) -> None:
    wire.send(
        head(
            "GET", "http://elsewhere:80/a%20b?c=%20", "X: 1", "x: 2", "Y: \xff", "Connection: keep-alive", version="1.0"
        )
    )

    assert (await wire.response())[0] == 404
    (scope,) = application.seen
    assert (scope.method, scope.path, scope.query_string) == ("GET", "/a b", "c=%20")
    assert (scope.http_version, scope.authority, scope.scheme) == ("1.0", "elsewhere:80", "http")
    assert scope.headers.get("x") == "1"
    assert "y" in scope.headers
    assert scope.headers.get("y") is None
    assert scope.headers.items() == [("host", "x"), ("x", "1"), ("x", "2"), ("connection", "keep-alive")]
    assert scope.client.startswith("127.0.0.1:")


async def test_http_1_0_closes_unless_it_asks_for_more(wire: Wire, connect: Connect) -> None:
    wire.send(head("GET", "/nowhere", "Connection: keep-alive", version="1.0"))
    assert (await wire.response())[1]["connection"] == "keep-alive"
    wire.send(head("GET", "/nowhere", version="1.0"))
    assert (await wire.response())[1]["connection"] == "close"
    assert await wire.ends()


async def test_head_request_gets_no_body(wire: Wire) -> None:
    wire.send(head("HEAD", "/nowhere"))
    line = await wire.reader.readuntil(b"\r\n\r\n")
    assert b"content-length: 12" in line
    wire.send(head("GET", "/nowhere"))
    assert (await wire.response())[2] == b"no such path"


async def test_upgrade_is_ignored(wire: Wire, store: FakeStore) -> None:
    upgrade = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"]
    wire.send(post(body(call_id="upgraded"), *upgrade), head("GET", "/nowhere", *upgrade), post(body(call_id="next")))

    assert await wire.statuses(3) == [200, 404, 200]
    assert [event.call_id for commit in store.commits for event in commit.batch.events] == ["upgraded", "next"]


async def test_client_that_expects_100_gets_it_before_it_sends_the_body(wire: Wire) -> None:
    content = body()
    wire.send(post(content, "Expect: 100-continue")[: -len(content)])
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(content)
    assert (await wire.response())[0] == 200


async def test_refused_client_that_expects_100_sends_no_body(wire: Wire) -> None:
    wire.send(head("POST", EVENTS, "Content-Length: 10", "Expect: 100-continue"))
    status, headers, _ = await wire.response()
    assert (status, headers["connection"]) == (401, "close")
    assert await wire.ends()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"\x16\x03\x01\x00", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (head("GET", "/", "Broken"), 400),
        (head("GET", "/", version="2.0"), 400),
        (b"GET /\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (head("GET", "http://[::1/"), 400),
        (head("GET", "mailto:x"), 400),
        (head("CONNECT", "x:1"), 405),
        (head("GET", "/" + "a" * limits.TARGET_BYTES_MAX), 414),
        (head("GET", "/", *(f"X-{number}: a" for number in range(limits.HEADERS_MAX))), 431),
        (head("GET", "/", "X: " + "a" * (limits.HEAD_BYTES_MAX + limits.SLICE_BYTES)), 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 2 * limits.HEAD_BYTES_MAX, 431),
        (head("POST", EVENTS, "Content-Length: 5", "Content-Length: 5") + b"abcde", 400),
        (head("POST", EVENTS, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
        (head("POST", EVENTS, "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 400),
        (head("POST", EVENTS, f"X-API-TOKEN: {TOKEN}", "Transfer-Encoding: chunked") + b"xyz\r\n\r\n", 400),
    ],
)
async def test_what_is_no_valid_request_is_refused_and_ends_the_connection(
    wire: Wire, application: Application, text: bytes, status: int
) -> None:
    wire.send(text)
    refused, headers, _ = await wire.response()
    assert (refused, headers["connection"]) == (status, "close")
    assert await wire.ends()
    assert application.seen == []


async def test_requests_before_a_broken_one_are_answered(wire: Wire) -> None:
    wire.send(post(body()), b"broken\r\n\r\n")
    assert await wire.statuses(2) == [200, 400]
    assert await wire.ends()


async def test_nothing_follows_a_request_that_closes(wire: Wire, application: Application) -> None:
    wire.send(head("GET", "/one", "Connection: close"), head("GET", "/two"))
    assert (await wire.response())[0] == 404
    assert await wire.ends()
    assert len(application.seen) == 1


async def test_rest_of_a_refused_body_is_discarded(wire: Wire) -> None:
    wire.send(head("POST", EVENTS, "Content-Length: 5"), b"abcde", post(body()))
    assert await wire.statuses(2) == [401, 200]


async def test_connection_with_a_long_refused_body_ends(wire: Wire) -> None:
    wire.send(head("POST", EVENTS, f"Content-Length: {limits.DISCARD_BYTES_MAX + 1}"))
    assert (await wire.response())[1]["connection"] == "close"
    assert await wire.ends()


async def test_half_closed_client_gets_its_response(wire: Wire, store: FakeStore) -> None:
    store.gate.clear()
    wire.send(post(body()))
    wire.writer.write_eof()
    await until(lambda: store.tried)
    store.gate.set()

    assert (await wire.response())[0] == 200
    assert await wire.ends()


async def test_body_that_ends_early_is_refused(wire: Wire, application: Application, connect: Connect) -> None:
    wire.send(post(body())[:-1])
    wire.writer.write_eof()
    assert (await wire.response())[0] == 408
    assert await wire.ends()

    failures = []

    async def read(_: Scope, protocol: HttpProtocol) -> None:
        try:
            await protocol()
        except ProtocolClosed as exc:
            failures.append(exc)
            protocol.response_bytes(408, [], b"")

    application.handlers["/read"] = read
    other = await connect()
    other.send(head("POST", "/read", "Content-Length: 5"), b"abc")
    other.writer.write_eof()
    assert (await other.response())[0] == 408
    assert len(failures) == 1


async def test_handler_notices_that_the_client_is_gone(
    wire: Wire, application: Application, listener: DirectListener
) -> None:
    gone = asyncio.Event()

    async def wait(_: Scope, protocol: HttpProtocol) -> None:
        await protocol.client_disconnect()
        gone.set()

    application.handlers["/wait"] = wait
    wire.send(head("GET", "/wait"))
    await until(lambda: application.seen)
    wire.writer.transport.abort()

    async with asyncio.timeout(60):
        await gone.wait()
    await until(lambda: not listener.connections)


async def test_failed_handler_is_answered_500(wire: Wire, application: Application) -> None:
    async def fail(_: Scope, protocol: HttpProtocol) -> None:
        raise RuntimeError("a secret")

    application.handlers["/fail"] = fail
    wire.send(head("GET", "/fail"), head("GET", "/nowhere"))
    status, _, content = await wire.response()
    assert status == 500
    assert b"secret" not in content
    assert (await wire.response())[0] == 404


async def test_response_in_parts(wire: Wire, application: Application) -> None:
    async def parts(_: Scope, protocol: HttpProtocol) -> None:
        transport = protocol.response_stream(200, [("x", "y")])
        for part in (b"abc", b"", b"de"):
            await transport.send_bytes(part)

    application.handlers["/parts"] = parts
    wire.send(head("GET", "/parts"), head("GET", "/nowhere"))
    received = await wire.reader.readuntil(b"0\r\n\r\n")
    assert received.endswith(b"\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert b"transfer-encoding: chunked" in received
    assert (await wire.response())[0] == 404


async def test_slow_reader_stops_the_reading_of_its_requests(
    wire: Wire, application: Application, listener: DirectListener
) -> None:
    async def large(_: Scope, protocol: HttpProtocol) -> None:
        protocol.response_bytes(200, [], b"a" * 1_000_000)

    application.handlers["/large"] = large
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined] # a reading transport
    count = 400
    wire.send(head("GET", "/large") * count)
    for _ in range(200):
        await asyncio.sleep(0.001)
    handled = len(application.seen)
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]

    assert await wire.statuses(count) == [200] * count
    assert handled <= limits.PIPELINED_MAX + limits.SLICE_BYTES // len(head("GET", "/large"))


async def test_no_more_connections_than_the_limit_are_accepted(connect: Connect, listener: DirectListener) -> None:
    wires = [await connect() for _ in range(CONNECTIONS_MAX + 1)]
    for wire in wires:
        wire.send(head("GET", "/nowhere"))
    assert [(await wire.response())[0] for wire in wires[:-1]] == [404] * CONNECTIONS_MAX
    assert len(listener.connections) == CONNECTIONS_MAX

    wires[0].writer.close()
    assert (await wires[-1].response())[0] == 404


async def test_draining_listener_closes_connections_with_their_last_response(
    connect: Connect, listener: DirectListener, store: FakeStore
) -> None:
    idle, busy = await connect(), await connect()
    store.gate.clear()
    busy.send(post(body()), post(body()))
    await until(lambda: store.tried)
    listener.drain()
    stopping = asyncio.create_task(listener.stop(5))
    assert await idle.ends()
    assert not stopping.done()
    store.gate.set()

    headers = [(await busy.response())[1].get("connection") for _ in range(2)]
    assert headers == [None, "close"]
    await stopping
    assert listener.connections == set()


async def test_client_that_has_just_come_is_answered_by_a_listener_that_stops(
    connect: Connect, listener: DirectListener
) -> None:
    """A busy client may pause between its connection and its request."""
    new = await connect()
    await until(lambda: listener.connections)
    stopping = asyncio.create_task(listener.stop(5))
    await asyncio.sleep(2 * STOP_POLL_SECONDS)

    new.send(post(body()))

    status, headers = (await new.response())[:2]
    assert (status, headers["connection"]) == (200, "close")
    await stopping
    assert listener.connections == set()


@pytest.mark.parametrize(
    ("sent", "seconds", "status"),
    [
        (b"", limits.IDLE_SECONDS, None),
        (head("GET", "/nowhere")[:-2], limits.HEAD_SECONDS, 408),
        (post(body())[:-1], 30.0, 408),
    ],
    ids=["idle", "head", "body"],
)
async def test_slow_client_is_ended(
    wire: Wire, listener: DirectListener, sent: bytes, seconds: float, status: int | None
) -> None:
    wire.send(sent)
    await until(lambda: listener.shared.received_bytes == len(sent) and listener.connections)
    (connection,) = listener.connections
    now = asyncio.get_running_loop().time()
    assert now < connection.deadline <= now + seconds
    connection.expire(connection.deadline + 0.01)

    if status:
        assert (await wire.response())[0] == status
    assert await wire.ends()

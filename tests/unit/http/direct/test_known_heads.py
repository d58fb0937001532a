"""Heads that are parsed once: what is remembered, and that a remembered head has its meaning and no other."""

import pytest

from ingest.http.admission import Admission
from ingest.http.direct import known_heads
from ingest.http.direct.events import DirectEvents
from ingest.http.direct.head import Head, RequestHeaders
from ingest.http.direct.known_heads import KnownHeads
from ingest.http.direct.listener import DirectListener
from ingest.http.direct.request import Request
from ingest.http.event_handler import EventHandler
from tests.unit.conftest import TOKEN
from tests.unit.fakes import FakeStore, until
from tests.unit.http.direct.conftest import Connect, Wire
from tests.unit.http.direct.test_connection import EVENTS, head, post
from tests.unit.http.direct.test_events import Connection
from tests.unit.making import body

PLAIN = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"
PAIRS = [(b"host", b"x"), (b"content-length", b"2")]


def parsed(*more: tuple[bytes, bytes], version: str = "1.1", keep_alive: bool = True) -> Head:
    return Head("POST", b"/x", version, RequestHeaders([*PAIRS, *more]), keep_alive)


def learned(text: bytes, of: Head) -> KnownHeads:
    heads = KnownHeads()
    heads.learn(text + b"ab", of, accepted=True)
    return heads


def test_request_with_a_known_head_is_found() -> None:
    found = learned(PLAIN, parsed()).find(PLAIN + b"cd")

    assert found
    head, content = found
    assert (head.method, head.target, head.http_version, head.keep_alive) == ("POST", b"/x", "1.1", True)
    assert (head.headers.items(), content) == (parsed().headers.items(), b"cd")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        PLAIN + b"c",
        PLAIN + b"cde",
        PLAIN + b"cd" + PLAIN + b"ef",
        PLAIN[:-1],
        b"",
        b"\r\n\r\ncd",
        b"\r\n" + PLAIN,
    ],
)
def test_only_one_whole_request_is_found(data: bytes) -> None:
    assert learned(PLAIN, parsed()).find(data) is None


def test_head_whose_end_has_not_come_is_not_found() -> None:
    empty = PLAIN.replace(b"length: 2", b"length: 0")
    of = Head("POST", b"/x", "1.1", RequestHeaders([(b"host", b"x"), (b"content-length", b"0")]), True)

    assert learned(empty, of).find(empty)
    for cut in range(1, len(known_heads.END) + 1):
        assert learned(empty, of).find(empty[:-cut]) is None


@pytest.mark.parametrize("name", known_heads.FRAMING)
def test_head_whose_body_needs_the_parser_is_not_learned(name: str) -> None:
    text = PLAIN.replace(b"\r\n\r\n", f"\r\n{name}: x\r\n\r\n".encode())

    assert learned(text, parsed((name.encode(), b"x"))).find(text + b"ab") is None


def with_lines(*lines: bytes) -> bytes:
    return PLAIN.replace(b"\r\n\r\n", b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n")


@pytest.mark.parametrize("first", [(), ((b"x-request-id", b"1"),)])
def test_headers_with_a_value_of_their_own_are_those_of_each_request(first: tuple[tuple[bytes, bytes], ...]) -> None:
    text = with_lines(b"x-request-id: 1") if first else PLAIN

    found = learned(text, parsed(*first)).find(with_lines(b"Traceparent: 00-a-b-01", b"X-Request-Id: 2") + b"cd")

    assert found
    assert (found[0].headers.get("x-request-id"), found[0].headers.get("traceparent")) == ("2", "00-a-b-01")
    assert (found[0].headers.get("host"), found[1]) == ("x", b"cd")
    plain = learned(text, parsed(*first)).find(PLAIN + b"cd")
    assert plain
    assert "x-request-id" not in plain[0].headers


@pytest.mark.parametrize(
    "lines",
    [
        [b"x-request-id: 1", b"x-request-id: 2"],
        [b"x-request-id: "],
        [b"x-request-id: \xff"],
        [b"x-request-id : 1"],
        [b"x-request-id: 1\r\n 2"],
        [b"x-request-id: 1\n"],
        [b"x-request-id: 1", b"transfer-encoding: chunked"],
    ],
)
def test_unusual_line_is_left_to_the_parser(lines: list[bytes]) -> None:
    assert learned(PLAIN, parsed()).find(with_lines(*lines) + b"cd") is None


def test_header_that_is_also_in_the_known_head_is_left_to_the_parser() -> None:
    heads = learned(with_lines(b"x-request-id:1"), parsed((b"x-request-id", b"1")))

    assert heads.find(with_lines(b"x-request-id:1") + b"cd")
    assert heads.find(with_lines(b"x-request-id:1", b"x-request-id: 2") + b"cd") is None


def test_head_with_the_same_header_twice_is_not_learned() -> None:
    text = with_lines(b"x-request-id:1", b"x-request-id: 1")

    assert learned(text, parsed((b"x-request-id", b"1"), (b"x-request-id", b"1"))).find(text + b"cd") is None


@pytest.mark.parametrize(
    "text",
    [
        b"\r\n\r\n",
        b"\r\n" + PLAIN,
        PLAIN.replace(b"host: x\r\n", b"host: x\n"),
        PLAIN.replace(b"\r\n\r\n", b"\n\nab\r\n\r\n"),
        PLAIN.replace(b"host: x", b"host: x\r\n y"),
        PLAIN.replace(b"host: x", b"host: x\r"),
    ],
)
def test_bytes_that_may_not_be_the_whole_head_are_not_learned(text: bytes) -> None:
    heads = learned(text, parsed())

    assert heads.find(text + b"ab") is None
    assert heads.find(text[: text.find(b"\r\n\r\n") + 4] + b"ab") is None


@pytest.mark.parametrize("of", [parsed(version="1.0"), parsed(keep_alive=False)])
def test_head_that_ends_the_connection_is_not_learned(of: Head) -> None:
    assert learned(PLAIN, of).find(PLAIN + b"ab") is None


def test_long_head_is_not_learned() -> None:
    value = b"y" * known_heads.HEAD_BYTES_MAX
    text = PLAIN.replace(b"\r\n\r\n", b"\r\nlong: " + value + b"\r\n\r\n")

    assert learned(text, parsed((b"long", value))).find(text + b"ab") is None


def test_heads_are_bounded() -> None:
    heads = KnownHeads()
    texts = [PLAIN.replace(b"host: x", b"host: %d" % number) for number in range(known_heads.HEADS_MAX + 1)]
    for text in texts:
        heads.learn(text, parsed(), accepted=True)

    assert heads.find(texts[0] + b"ab") is None
    assert heads.find(texts[-1] + b"ab")


def test_refused_heads_push_out_no_accepted_one() -> None:
    heads = learned(PLAIN, parsed())
    for number in range(2 * known_heads.HEADS_MAX):
        heads.learn(PLAIN.replace(b"host: x", b"host: %d" % number), parsed(), accepted=False)

    assert heads.find(PLAIN + b"cd")


async def test_second_request_needs_no_parser(connect: Connect, listener: DirectListener, store: FakeStore) -> None:
    wires = [await connect(), await connect()]
    calls = ["one", "two"]
    for call_id, wire in zip(calls, wires, strict=True):
        wire.send(post(body(call_id=call_id)))
        assert (await wire.response())[0] == 200

    assert listener.shared.known_heads.find(post(body(call_id="tri")))
    assert listener.shared.requests == 2
    assert [event.call_id for commit in store.commits for event in commit.batch.events] == calls


async def test_known_head_is_admitted_each_time(wire: Wire, listener: DirectListener) -> None:
    wire.send(post(body()))
    assert (await wire.response())[0] == 200
    refused = [post(b"{}"), head("POST", EVENTS, "X-API-TOKEN: other", "Content-Length: 2") + b"{}"]
    for request, status in zip(refused * 2, [422, 401, 422, 401], strict=True):
        wire.send(request)
        assert (await wire.response())[0] == status
    assert all(listener.shared.known_heads.find(request) for request in refused)

    wire.send(post(body()))

    assert (await wire.response())[0] == 200


async def test_body_with_a_known_head_is_bounded(handler: EventHandler, admission: Admission) -> None:
    events = DirectEvents(handler, admission, body_bytes_max=10)
    connection = Connection(broken=False)
    headers = RequestHeaders([(b"x-api-token", TOKEN.encode())])
    request = Request(connection, Head("POST", EVENTS.encode(), "1.1", headers, True))

    events.take_whole(request, b"x" * 11)

    await until(lambda: connection.statuses == [413])


async def test_known_head_waits_for_its_turn(wire: Wire, store: FakeStore) -> None:
    wire.send(post(body()))
    assert (await wire.response())[0] == 200
    store.gate.clear()
    wire.send(post(body(call_id="one")))
    await wire.writer.drain()
    store.gate.set()
    wire.send(head("GET", "/nowhere"))
    wire.send(post(body(call_id="two")))

    assert await wire.statuses(3) == [200, 404, 200]


async def test_known_head_after_a_part_of_another_request_is_a_body(wire: Wire, listener: DirectListener) -> None:
    request = post(body())
    wire.send(request)
    assert (await wire.response())[0] == 200

    wire.send(head("POST", EVENTS, f"X-API-TOKEN: {TOKEN}", f"Content-Length: {len(request)}"))
    await until(lambda: listener.shared.requests == 2)
    wire.send(request)

    assert (await wire.response())[0] == 400

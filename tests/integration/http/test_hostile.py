"""Heads and lengths that violate HTTP: the service refuses them or reads them in the safe way. Other clients notice
nothing."""

import pytest

from tests.integration.hostile import MIB, count_of, reveals_nothing, unharmed
from tests.raw_http import API, LAST_CHUNK, RawConnection, ask, chunk, chunked_head, head, post, post_head
from tests.running import TOKEN, ServiceProcess
from tests.unit.making import body

EVENT = body()
LENGTH = f"Content-Length: {len(EVENT)}"
START = f"POST {API} HTTP/1.1\r\nHost: localhost\r\nX-API-TOKEN: {TOKEN}\r\n{LENGTH}\r\n".encode()
"""The begin of a head, to which a test adds lines."""

HEADERS = {
    "a NUL in a value": (b"X: a\0b", {400}),
    "a NUL in a name": (b"X\0: a", {400}),
    "a control character": (b"X: \x01", {400}),
    "a carriage return alone": (b"X: a\rX-API-TOKEN: b", {400}),
    "a folded line": (b"X: a\r\n b", {400}),
    "a blank before the colon": (b"Content-Length : 5", {400}),
    "no colon": (b"nothing", {400}),
    "no name": (b": a", {400}),
    "invalid UTF-8": (b"X: \xff\xfe", {200}),
    "a name that is not a token": (b"X\xe9: a", {400}),
    "an encoding that is not readable": (b"Content-Encoding: \xff", {415}),
    "a second host": (b"Host: elsewhere", {200}),
    "a token in a second header": (b"X-API-TOKEN: \xff", {200}),
    "an upgrade to HTTP/2": (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk", {200}),
    "an upgrade to WebSocket": (b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13", {200}),
    "an expectation of its own": (b"Expect: 200-something", {200}),
    "90 more of them": (b"\r\n".join(b"X-%d: a" % number for number in range(90)), {200}),
    "1,000 more of them": (b"\r\n".join(b"X-%d: a" % number for number in range(1_000)), {431}),
    "50,000 bytes": (b"X: " + b"a" * 50_000, {200}),
    "300,000 bytes": (b"X: " + b"a" * 300_000, {200, 431}),  # the direct listener takes heads of 64 KiB
    "a MiB": (b"X: " + b"a" * MIB, {431}),
}


def test_hostile_headers(service: ServiceProcess) -> None:
    with unharmed(service) as client:
        statuses = {}
        for name, (lines, _) in HEADERS.items():
            with RawConnection(service.port) as connection:
                connection.flood([START, lines, b"\r\n\r\n", EVENT])
                reply = connection.reply()
                assert reveals_nothing(reply), name
                statuses[name] = reply.status
            client.ask()
    assert {name: status for name, status in statuses.items() if status not in HEADERS[name][1]} == {}


LENGTHS = {
    "two that differ": (["Content-Length: 5", "Content-Length: 6"], {400}),
    "two in one line": (["Content-Length: 5, 5"], {400}),
    "negative": (["Content-Length: -1"], {400}),
    "hexadecimal": (["Content-Length: 0x10"], {400}),
    "empty": (["Content-Length:"], {400}),
    "with a blank in it": (["Content-Length: 1 1"], {400}),
    "of 65 bits": (["Content-Length: 18446744073709551616"], {400}),
    "of 63 bits": (["Content-Length: 9223372036854775807"], {413}),
    "with 5,000 zeros before it": ([f"Content-Length: {'0' * 5_000}{len(EVENT)}"], {200}),
    "too many after 5,000 zeros": ([f"Content-Length: {'0' * 5_000}99999999"], {413}),
    "an unknown encoding": (["Transfer-Encoding: xchunked"], {400}),
    "chunked is not last": (["Transfer-Encoding: chunked, gzip"], {400}),
    "chunks behind a vertical tab": (["Transfer-Encoding: \x0bchunked"], {400}),
    "identity": (["Transfer-Encoding: identity"], {400}),
}


def test_invalid_lengths(service: ServiceProcess) -> None:
    with unharmed(service) as client:
        statuses = {}
        for name, (lines, _) in LENGTHS.items():
            reply = ask(service.port, head("POST", API, f"X-API-TOKEN: {TOKEN}", *lines) + EVENT)
            assert reveals_nothing(reply), name
            statuses[name] = reply.status
            client.ask()
    assert {name: status for name, status in statuses.items() if status not in LENGTHS[name][1]} == {}


@pytest.mark.parametrize(
    "broken",
    [
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"f" * 17 + b"\r\n",
        b"5\nhello\n0\n\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5;" + b"a" * MIB,
    ],
    ids=lambda broken: repr(broken[:12]),
)
def test_invalid_chunks(service: ServiceProcess, broken: bytes) -> None:
    with unharmed(service), RawConnection(service.port) as connection:
        connection.flood([chunked_head(), broken])
        assert connection.reply().status in (400, 408)  # Granian takes it for an early end
        assert connection.is_closed()


SMUGGLED = post(body(call_id="smuggled"))


@pytest.mark.parametrize(
    "carrier",
    [
        chunked_head("Content-Length: 5") + chunk(EVENT) + LAST_CHUNK,
        chunked_head("Content-Length: 5") + LAST_CHUNK,
        head("POST", API, f"X-API-TOKEN: {TOKEN}", "Transfer-Encoding: xchunked", LENGTH) + LAST_CHUNK,
        head("POST", API, f"X-API-TOKEN: {TOKEN}", "Transfer-Encoding : chunked", LENGTH) + LAST_CHUNK,
        head("POST", API, f"X-API-TOKEN: {TOKEN}", "Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"),
        chunked_head() + b"5\r\nhelloXX\r\n" + LAST_CHUNK,
        post_head(2_000_000),
        post(EVENT) + b"\0 garbage \r\n\r\n",
    ],
    ids=["both lengths", "both lengths, empty", "no encoding", "blank", "two lengths", "chunk", "too large", "garbage"],
)
def test_no_request_is_smuggled_behind_an_ambiguous_one(service: ServiceProcess, carrier: bytes) -> None:
    with unharmed(service), RawConnection(service.port) as connection:
        connection.flood([carrier + SMUGGLED])
        connection.read_to_end()
    assert count_of(service, "smuggled") == 0

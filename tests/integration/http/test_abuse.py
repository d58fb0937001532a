"""Garbage, and events that try to break a database: the service refuses or stores each one, and the worker survives."""

import json
import os
from collections.abc import Callable, Iterator

import pytest

from ingest.settings import Settings
from tests.conftest import StartService
from tests.integration.hostile import MIB, unharmed
from tests.raw_http import API, BATCH, LAST_CHUNK, RawConnection, ask, chunk, chunked_head, post, post_head
from tests.running import ServiceProcess
from tests.services import MySQLServer
from tests.unit.making import body

FLOOD_BYTES = 64 * MIB
GARBAGE = os.urandom(MIB)


def flood(wrapped: Callable[[bytes], bytes] = bytes) -> Iterator[bytes]:
    return (wrapped(GARBAGE) for _ in range(FLOOD_BYTES // MIB))


@pytest.mark.parametrize("path", [API, BATCH])
@pytest.mark.parametrize(
    ("start", "wrapped", "status"),
    [
        (lambda path: post_head(FLOOD_BYTES, path=path), bytes, 413),
        (lambda path: chunked_head(path=path), chunk, 413),
        (lambda path: post_head(FLOOD_BYTES, path=path, token="wrong"), bytes, 401),
        (lambda path: b"", bytes, 400),
    ],
    ids=["Content-Length", "chunks", "no token", "not HTTP"],
)
def test_64_mib_of_garbage_are_refused_in_bounded_memory(
    service: ServiceProcess, path: str, start: Callable[[str], bytes], wrapped: Callable[[bytes], bytes], status: int
) -> None:
    with unharmed(service), RawConnection(service.port) as connection:
        connection.send(start(path))
        sent = connection.flood(flood(wrapped))
        assert connection.reply().status == status
        assert connection.is_closed()

    assert sent < FLOOD_BYTES  # the service stopped reading the refused body


def test_garbage_within_the_limit_is_refused(service: ServiceProcess) -> None:
    permitted = GARBAGE[: Settings().body_bytes_max]
    assert ask(service.port, post(permitted)).status == 400
    assert ask(service.port, chunked_head() + chunk(permitted) + LAST_CHUNK).status == 400
    assert ask(service.port, post(GARBAGE * 16, path=BATCH)).status in (400, 413, 422)


def test_endless_head_is_refused(service: ServiceProcess) -> None:
    for line in (b"X-Long: %b" % (b"a" * MIB), b"\r\n".join(b"X-%d: a" % number for number in range(1000))):
        with RawConnection(service.port) as connection:
            connection.flood([b"POST /api/call-events HTTP/1.1\r\nHost: localhost\r\n", line, b"\r\n\r\n"])
            assert connection.reply().status == 431
            assert connection.is_closed()


def nested(levels: int) -> bytes:
    """An event with this many levels of nesting."""
    return with_field(b"[" * (levels - 1) + b"]" * (levels - 1))


def with_field(value: bytes, call_id: bytes = b"poison") -> bytes:
    """An event with the unknown field `x`."""
    return body(call_id=call_id.decode())[:-1] + b', "x": ' + value + b"}"


# 422 comes from the database: MySQL and MariaDB accept different numbers and keys.
POISON = {
    "NUL escaped in a value": (with_field(rb'"\u0000"'), {200}),
    "NUL escaped in a key": (with_field(rb'{"\u0000": 1}'), {200}),
    "NUL escaped in a column": (body(call_id="poison").replace(b"+15551230001", rb"\u0000"), {200}),
    "NUL escaped in call_id": (body(call_id="poison\0"), {200}),
    "NUL as it is": (with_field(b'"\0"'), {400}),
    "NUL outside of strings": (body() + b"\0", {400}),
    "half a surrogate pair": (with_field(rb'"\ud800"'), {400}),
    "the other half": (with_field(rb'"\udc00\ud800"'), {400}),
    "half a surrogate pair in a column": (body().replace(b"call_started", rb"\ud800"), {400}),
    "half a surrogate pair in a key": (with_field(rb'{"\ud800": 1}'), {400}),
    "invalid UTF-8": (with_field(b'"\xff"'), {400}),
    "a surrogate in UTF-8": (with_field(b'"\xed\xa0\x80"'), {400}),
    "overlong UTF-8": (with_field(b'"\xc0\xaf"'), {400}),
    "an emoji": (with_field('"☎️📞"'.encode()), {200}),
    "31 levels": (nested(31), {200}),
    "32 levels": (nested(32), {400}),
    "100,000 levels": (nested(100_000), {400}),
    "a number of 26 digits": (with_field(b"12345678901234567890123456"), {200}),
    "a number of 5,000 digits": (with_field(b"1" * 5_000), {200, 422}),
    "a number beyond a double": (with_field(b"1e400"), {200, 422}),
    "a fraction of 400 digits": (with_field(b"0." + b"3" * 400), {200}),
    "a number beyond a double beside a leap second": (with_field(b"1e400").replace(b"45:00", b"59:60"), {200, 422}),
    "32 levels behind a repeated key": (nested(32)[:-1] + b', "x": 1}', {400}),
    "NaN": (with_field(b"NaN"), {400}),
    "minus zero": (with_field(b"-0"), {200}),
    "the same key twice": (with_field(b'{"a": 1, "a": 2}'), {200}),
    "the same known key twice": (body()[:-1] + b', "call_id": "second"}', {200}),
    "an empty key": (with_field(b'{"": ""}'), {200}),
    "a long key": (with_field(b'{"%b": 1}' % (b"k" * 70_000)), {200, 422}),
    "quotes and backslashes": (with_field(rb"""  "\\\"'; DROP TABLE call_event_logs; --"  """), {200}),
    "SQL in a column": (body(call_id="'); DROP TABLE call_event_logs; -- \\"), {200}),
    "a percent sign in a column": (body(call_id="%s %d %(x)s"), {200}),
    "a byte order mark": (b"\xef\xbb\xbf" + body(), {200}),
    "line separators": (with_field('"\u2028\u2029"'.encode()), {200}),
    "600,000 bytes": (with_field(b'"%b"' % (b"a" * 600_000)), {200}),
}


def test_poison_is_refused_or_stored_and_never_a_server_error(
    start_service: StartService, mysql: MySQLServer, full_settings: dict[str, str], listener: str
) -> None:
    service = start_service(LISTENER=listener)
    replies = {}
    for name, (poison, _) in POISON.items():
        # Both are sent before either response, so that they share a commit.
        with RawConnection(service.port) as one, RawConnection(service.port) as other:
            one.send(post(with_field(b"1", b"neighbor")))
            other.send(post(poison))
            replies[name] = (one.reply().status, other.reply())

    statuses = {name: reply.status for name, (_, reply) in replies.items()}
    assert {name: status for name, status in statuses.items() if status not in POISON[name][1]} == {}
    assert {name for name, (neighbor, _) in replies.items() if neighbor != 200} == set()
    assert not [reply for _, reply in replies.values() if b"Traceback" in reply.body or b".py" in reply.body]
    database = full_settings["DATABASE_URL"].rpartition("/")[2]
    stored = mysql.query("SELECT call_id = 'neighbor', COUNT(*) FROM call_event_logs GROUP BY 1", database)
    assert dict(stored) == {1: len(POISON), 0: list(statuses.values()).count(200)}


def test_poison_in_a_batch_does_not_affect_its_neighbors(start_service: StartService, listener: str) -> None:
    service = start_service(LISTENER=listener)
    names = list(POISON)
    lines = [line.replace(b"\n", b" ") for poison, _ in POISON.values() for line in (body(), poison)]

    status, content = service.post(b"\n".join(lines), BATCH)

    report = json.loads(content)
    rejected = {entry["index"]: entry["errors"] for entry in report["rejected"]}
    assert (status, report["accepted"] + len(rejected)) == (200, len(lines))
    assert [index for index in rejected if index % 2 == 0] == []
    for number, name in enumerate(names):
        statuses = POISON[name][1]
        assert statuses != {200} or 2 * number + 1 not in rejected, name
        assert 200 in statuses or 2 * number + 1 in rejected, name

"""Bodies in all encodings of HTTP/1.1, and clients that do not finish them."""

import json
from collections.abc import Iterator

import pytest

from ingest.settings import Settings
from tests.integration.conftest import Payloads
from tests.integration.http.conftest import is_direct
from tests.raw_http import BATCH, LAST_CHUNK, RawConnection, ask, chunk, chunked_head, head, post, post_head
from tests.running import TOKEN, ServiceProcess
from tests.unit.making import body

QUEUED = b'{"status":"queued"}'
CONTINUE = "Expect: 100-continue"
BODY_BYTES_MAX = Settings().body_bytes_max
BATCH_BODY_BYTES_MAX = Settings().batch_body_bytes_max
LATE = {"message": "The body did not arrive in time. Nothing was stored; retry."}


@pytest.mark.parametrize("size", [1, 7, 10_000], ids=lambda size: f"chunks of {size}")
def test_chunks_are_joined(service: ServiceProcess, payloads: Payloads, size: int) -> None:
    text = body(call_id=f"chunks-of-{size}", note="é" * 50)
    chunks = [chunk(text[start : start + size]) for start in range(0, len(text), size)]

    with RawConnection(service.port) as connection:
        connection.send(chunked_head(), *chunks, LAST_CHUNK)
        assert connection.reply().body == QUEUED
        connection.send(post(body()))  # the server found the end of the body
        assert connection.reply().body == QUEUED

    assert payloads(f"chunks-of-{size}") == [text.decode()]


def test_chunk_extensions_are_ignored(service: ServiceProcess, payloads: Payloads) -> None:
    text = body(call_id="extended")
    extended = [chunk(text[:20], b';name="a value"'), chunk(text[20:], b";flag"), b"0;last\r\n\r\n"]

    assert ask(service.port, b"".join([chunked_head(), *extended])).body == QUEUED
    assert payloads("extended") == [text.decode()]


def test_trailers_are_ignored_or_refused(service: ServiceProcess, payloads: Payloads) -> None:
    """For Granian's application they look like an early end."""
    text = body(call_id="trailed")
    trailed = [chunked_head("Trailer: Checksum"), chunk(text), b"0\r\nChecksum: 1\r\n\r\n"]
    reply = ask(service.port, b"".join(trailed))

    if is_direct(service):
        assert reply.body == QUEUED
        assert payloads("trailed") == [text.decode()]
        return
    assert (reply.status, reply.headers["connection"]) == (408, "close")
    assert "trailers followed it" in reply.json["message"]
    assert payloads("trailed") == []


def test_chunks_with_a_content_length_are_refused_or_override_it(service: ServiceProcess, payloads: Payloads) -> None:
    text = body(call_id="both-lengths")

    reply = ask(service.port, chunked_head("Content-Length: 5") + chunk(text) + LAST_CHUNK)

    assert reply.headers["connection"] == "close"  # RFC 9112, section 6.1: no second request after this one
    if is_direct(service):
        assert reply.status == 400
        return
    assert reply.body == QUEUED
    assert payloads("both-lengths") == [text.decode()]


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: -1"],
        ["Content-Length: +5"],
        ["Content-Length: 99999999999999999999999"],
        ["Transfer-Encoding: gzip"],
    ],
    ids=str,
)
def test_body_without_a_clear_end_is_refused(service: ServiceProcess, lines: list[str]) -> None:
    with RawConnection(service.port) as connection:
        connection.send(head("POST", "/api/call-events", f"X-API-TOKEN: {TOKEN}", *lines), body())
        assert connection.reply().status == 400
        assert connection.is_closed()


def test_head_and_body_may_come_in_pieces(service: ServiceProcess) -> None:
    request = post(body())
    with RawConnection(service.port) as connection:
        connection.send(*(request[at : at + 1] for at in range(len(request))))
        assert connection.reply().body == QUEUED


def test_client_is_told_to_continue(service: ServiceProcess) -> None:
    text = body()
    with RawConnection(service.port) as connection:
        connection.send(post_head(len(text), CONTINUE))
        assert connection.reply().status == 100
        connection.send(text)
        assert connection.reply().body == QUEUED


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (post_head(100, CONTINUE, token="wrong"), 401),
        (post_head(BODY_BYTES_MAX + 1, CONTINUE), 413),
        (post_head(100, CONTINUE, "Content-Encoding: br"), 415),
        (head("PUT", "/api/call-events", "Content-Length: 100", CONTINUE), 405),
    ],
)
def test_client_that_expects_100_gets_a_refusal_before_its_body(
    service: ServiceProcess, request_head: bytes, status: int
) -> None:
    with RawConnection(service.port) as connection:
        connection.send(request_head)
        assert connection.reply().status == status
        assert connection.is_closed()


@pytest.mark.parametrize(
    ("path", "limit"), [("/api/call-events", BODY_BYTES_MAX), (BATCH, BATCH_BODY_BYTES_MAX)], ids=["one", "batch"]
)
def test_too_large_body_is_refused_before_it_is_read(service: ServiceProcess, path: str, limit: int) -> None:
    with RawConnection(service.port) as connection:
        connection.send(post_head(limit + 1, path=path))
        reply = connection.reply()
        assert reply.status == 413
        assert reply.json == {"message": f"The body has {limit + 1} bytes; the limit is {limit}."}
        assert reply.headers["connection"] == "close"
        assert connection.is_closed()


def test_chunks_are_refused_at_the_first_byte_over_the_limit(service: ServiceProcess) -> None:
    with RawConnection(service.port) as connection:
        connection.send(chunked_head(), chunk(b" " * BODY_BYTES_MAX), b"1\r\n ")
        reply = connection.reply()
        assert reply.status == 413
        assert reply.json == {"message": f"The body has more than {BODY_BYTES_MAX} bytes, which is the limit."}
        assert connection.is_closed()


def test_largest_body_is_accepted(service: ServiceProcess, payloads: Payloads) -> None:
    short = body(call_id="longest")
    text = short + b" " * (BODY_BYTES_MAX - len(short))

    assert ask(service.port, post(text)).body == QUEUED
    assert ask(service.port, chunked_head() + chunk(text) + LAST_CHUNK).body == QUEUED
    assert payloads("longest") == [text.decode()] * 2


def test_batch_with_too_many_events_is_refused(service: ServiceProcess) -> None:
    reply = ask(service.port, post(b"{}\n" * 10_001, path=BATCH))

    assert reply.status == 413
    assert reply.json == {"message": "The body has more than 10000 events, which is the limit."}


@pytest.fixture(scope="module")
def impatient(listener: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    settings = {"BODY_TIMEOUT_SECONDS": "1", "LISTENER": listener}
    with ServiceProcess(tmp_path_factory.mktemp("impatient"), settings) as service:
        yield service


@pytest.mark.parametrize(
    "start", [post_head(100), post_head(100) + b'{"call_id', chunked_head(), chunked_head() + b"5\r\n{"], ids=range(4)
)
def test_slow_body_is_refused_at_its_deadline(impatient: ServiceProcess, start: bytes) -> None:
    with RawConnection(impatient.port) as connection:
        connection.send(start)
        reply = connection.reply()
        assert (reply.status, reply.json) == (408, LATE)
        assert reply.headers["connection"] == "close"
        assert connection.is_closed()


def test_slow_bodies_do_not_delay_other_clients(impatient: ServiceProcess) -> None:
    with RawConnection(impatient.port) as slow:
        slow.send(post_head(100))
        assert [ask(impatient.port, post(body())).status for _ in range(5)] == [200] * 5
        assert slow.reply().status == 408


@pytest.mark.parametrize(
    "start",
    [
        post_head(1000) + body(call_id="cut-off"),
        chunked_head() + chunk(body(call_id="cut-off")),
        chunked_head() + chunk(body(call_id="cut-off")) + b"5\r\nabc",
        chunked_head() + chunk(body(call_id="cut-off")) + b"not a size\r\n",
        chunked_head() + b"not a size\r\n",
    ],
    ids=["length", "chunks", "within a chunk", "malformed chunk", "no chunk"],
)
def test_truncated_body_is_not_stored(service: ServiceProcess, payloads: Payloads, start: bytes) -> None:
    with RawConnection(service.port) as connection:
        connection.send(start)
        connection.half_close()
        reply = connection.reply()
        if b"not a size" in start and is_direct(service):
            assert reply.status == 400
        else:
            assert reply.status == 408
            assert reply.json["message"].startswith("The connection ended before the body did")
        assert connection.is_closed()

    assert payloads("cut-off") == []


def test_clients_that_disconnect_do_no_harm(service: ServiceProcess, payloads: Payloads) -> None:
    for start in (b"POST /api", post_head(1000), post_head(1000) + body(call_id="gone"), chunked_head() + b"5"):
        with RawConnection(service.port) as connection:
            connection.send(start)

    assert service.post(body())[0] == 200
    assert payloads("gone") == []


def test_pipelined_requests_are_answered_in_order(service: ServiceProcess, payloads: Payloads) -> None:
    count = 60
    requests, expected = [], []
    for number in range(count):
        wrong = number % 3 == 1
        text = body(call_id="pipelined", number=number, **({"to_number": number} if wrong else {}))
        requests.append(chunked_head() + chunk(text) + LAST_CHUNK if number % 3 == 2 else post(text))
        expected.append(422 if wrong else 200)

    with RawConnection(service.port) as connection:
        connection.send(b"".join(requests))
        assert [connection.reply().status for _ in range(count)] == expected

    numbers = [json.loads(payload)["number"] for payload in payloads("pipelined")]
    assert numbers == [number for number in range(count) if number % 3 != 1]

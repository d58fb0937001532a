"""Malformed requests: the service refuses them or sends no response. Other clients notice nothing."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.hostile import MIB, peak_resident_bytes, reveals_nothing, unharmed
from tests.raw_http import API, BATCH, LAST_CHUNK, RawConnection, ask, chunk, chunked_head, head, post
from tests.running import ServiceProcess
from tests.unit.making import body

PEAK_BYTES_MAX = 96 * MIB
"""A few copies of a body of 16 MiB: received parts, joined body, stripped body. Its items would take a GiB."""
EVENT = body()

NOT_FOUND_OR_ALLOWED = {400, 404, 405, 414}
TARGETS = [
    *["/%ff", "/\xff", "/?\xff", "/%00", "/%0d%0aX:1", "/a b", "/\\", "/[", "/%", "/%zz", "//elsewhere.example/x", "*"],
    *["", "?", "/#", '/"<>', "/|^`", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/\xc3\xa9", "/" + "a" * 60_000],
    *["http://[::1/", "http://[::1]:99999/x", "ftp://elsewhere.example/x", "mailto:x", "localhost:443"],
]


def test_hostile_targets(service: ServiceProcess) -> None:
    with unharmed(service) as client:
        for method in ("GET", "POST", "OPTIONS", "TRACE", "CONNECT", "get", "A" * 5_000):
            for target in TARGETS:
                reply = ask(service.port, head(method, target, "Content-Length: 0"), to=method)
                assert reveals_nothing(reply), (method, target)
                assert reply.status in (*NOT_FOUND_OR_ALLOWED, 200), (method, target)
                assert reply.status != 200 or (method, target) == ("GET", "/#"), (method, target)
        client.ask()


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "TRACK"])
def test_request_headers_are_not_echoed(service: ServiceProcess, method: str) -> None:
    for path in (API, "/", "localhost:443"):
        reply = ask(service.port, head(method, path, "X-Secret: of-the-client"))
        assert reply.status in NOT_FOUND_OR_ALLOWED
        assert b"of-the-client" not in reply.body


INVALID_REQUESTS = {
    "zeros": b"\0" * 1_000,
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no version": b"GET /\r\n\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\n\r\n",
    "carriage returns": b"GET / HTTP/1.1\rHost: x\r\r",
    "another protocol": b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
    "a method with a NUL": b"G\0T / HTTP/1.1\r\n\r\n",
    "HTTP/2 with invalid frames": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    "HTTP/2 with an invalid header": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + bytes([*b"\0\0\0\4\0\0\0\0\0\0\0\1\1\5\0\0\0\1", 255]),
}


def test_invalid_request_ends_its_connection(service: ServiceProcess) -> None:
    with unharmed(service) as client:
        for garbage in INVALID_REQUESTS.values():
            with RawConnection(service.port) as connection:
                connection.flood([garbage])
                assert b"Traceback" not in connection.read_to_end()
            client.ask()


REQUESTS = [
    post(EVENT),
    post(EVENT + b"\n" + EVENT, "Connection: close", path=BATCH),
    chunked_head() + chunk(EVENT) + LAST_CHUNK,
    head("GET", "/readyz?a=b", "Accept: */*", "Cookie: a=b"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
]
NOISE = st.binary(max_size=8) | st.sampled_from(
    [
        b"\0",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b":",
        b"\xff",
        b"\r\nTransfer-Encoding: chunked",
        b"0\r\n\r\n",
        b"9" * 30,
        b"%ff",
    ]
)


def test_damaged_requests_cause_no_server_error(service: ServiceProcess) -> None:
    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(REQUESTS), NOISE, st.integers(0, 500), st.integers(0, 20))
    def send(request: bytes, noise: bytes, position: int, removed: int) -> None:
        position %= len(request)
        with RawConnection(service.port) as connection:
            connection.flood([request[:position] + noise + request[position + removed :]])
            connection.half_close()
            assert b"HTTP/1.1 5" not in connection.read_to_end()

    with unharmed(service):
        send()


@pytest.mark.parametrize(
    ("unit", "status"), [(b"1,", 413), (b"[],", 413), (b"\n", 422), (b"1\n", 413), (b"[", 400)], ids=repr
)
def test_batch_of_millions_of_items_takes_bounded_memory(service: ServiceProcess, unit: bytes, status: int) -> None:
    (worker,) = service.worker_pids()
    text = (b"" if unit.endswith(b"\n") else b"[") + unit * (15 * MIB // len(unit)) + b"1"
    before = peak_resident_bytes(worker)

    with unharmed(service, growth_bytes_max=PEAK_BYTES_MAX):
        assert ask(service.port, post(text, path=BATCH)).status == status

    assert peak_resident_bytes(worker) - before < PEAK_BYTES_MAX

"""Compressed bodies over real HTTP, including decompression bombs."""

import gzip
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import zstandard

from tests.integration.hostile import count_of
from tests.raw_http import ask, post
from tests.running import ServiceProcess
from tests.unit.making import body

API, BATCH = "/api/call-events", "/api/call-events/batch"
BOMB_BYTES = 200_000_000
BOMBS = 20
RSS_GROWTH_BYTES_MAX = 100_000_000
"""A batch's body may decompress to 16 MiB; a bomb would take `BOMB_BYTES`."""

ENCODERS = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}
Encode = Callable[[bytes], bytes]

pytestmark = pytest.mark.parametrize("encoding", ENCODERS)


@pytest.fixture(scope="module")
def service(listener: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path_factory.mktemp("encodings"), {"LISTENER": listener}) as running:
        yield running


def encoded(content: bytes, encoding: str, path: str = API) -> bytes:
    return post(ENCODERS[encoding](content), f"Content-Encoding: {encoding}", path=path)


def test_event_is_stored_as_it_was_before_compression(service: ServiceProcess, encoding: str) -> None:
    event = body(call_id=f"one {encoding}", note="  as  it is ")

    assert ask(service.port, encoded(event, encoding)).status == 200
    assert event.decode() in service.command("tail", "--limit", "1", "--timeout", "50").stdout


def test_batch_is_accepted(service: ServiceProcess, encoding: str) -> None:
    events = b"\n".join(body(call_id=f"many {encoding}", number=number) for number in range(1000))

    reply = ask(service.port, encoded(events, encoding, BATCH))

    assert (reply.status, reply.json["accepted"]) == (200, 1000)
    assert count_of(service, f"many {encoding}") == 1000


def test_body_of_another_encoding_is_refused(service: ServiceProcess, encoding: str) -> None:
    reply = ask(service.port, post(body(), f"Content-Encoding: {encoding}"))

    assert reply.status == 400
    assert "The body is not" in reply.json["message"]


@cache
def bomb_in(encoding: str) -> bytes:
    return ENCODERS[encoding](b"[" + bytes(BOMB_BYTES))


@pytest.mark.parametrize("path", [API, BATCH])
def test_bombs_are_refused_in_bounded_memory(service: ServiceProcess, encoding: str, path: str) -> None:
    bomb = post(bomb_in(encoding), f"Content-Encoding: {encoding}", path=path)
    (worker,) = service.worker_pids()
    before = peak_bytes(worker)

    for _ in range(BOMBS):
        reply = ask(service.port, bomb)
        assert reply.status == 413
        assert "decompresses to more than" in reply.json["message"]

    assert peak_bytes(worker) - before < RSS_GROWTH_BYTES_MAX
    assert service.post(body())[0] == 200


def peak_bytes(pid: int) -> int:
    """The peak resident memory of the process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

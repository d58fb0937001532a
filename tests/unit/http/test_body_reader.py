import asyncio
from collections.abc import AsyncIterator

import pytest

from ingest.errors import BodyTimeout, BodyTooLarge
from ingest.http.body_reader import BodyReader
from tests.unit.fakes import FakeClock, FakeHeaders, FakeProtocol, until

TIMEOUT_SECONDS = 5.0
BYTES_MAX = 10

CHUNKED = FakeHeaders({"transfer-encoding": "chunked"})
NO_LENGTH = FakeHeaders({})
"""The headers of an HTTP/2 request, which needs no length."""


def of_length(length: object) -> FakeHeaders:
    return FakeHeaders({"content-length": str(length)})


def with_both_lengths(length: int) -> FakeHeaders:
    return FakeHeaders({"content-length": str(length), "transfer-encoding": "chunked"})


@pytest.fixture
def bodies(clock: FakeClock) -> BodyReader:
    return BodyReader(TIMEOUT_SECONDS, clock.monotonic)


@pytest.fixture
async def swept(bodies: BodyReader) -> AsyncIterator[BodyReader]:
    sweep = asyncio.create_task(bodies.sweep())
    yield bodies
    sweep.cancel()
    await asyncio.wait([sweep])


@pytest.mark.parametrize("headers", [of_length(6), CHUNKED, NO_LENGTH, of_length("x"), with_both_lengths(1)])
@pytest.mark.parametrize("parts", [[b"abcdef"], [b"ab", b"cde", b"f"]])
async def test_body_is_read_whole(bodies: BodyReader, headers: FakeHeaders, parts: list[bytes]) -> None:
    assert await bodies.read(FakeProtocol(parts), headers, BYTES_MAX) == b"abcdef"


@pytest.mark.parametrize("content", [b"", b"x" * BYTES_MAX], ids=["empty", "at the limit"])
async def test_body_may_have_any_length_up_to_the_limit(bodies: BodyReader, content: bytes) -> None:
    for headers in (of_length(len(content)), CHUNKED, NO_LENGTH):
        assert await bodies.read(FakeProtocol([content] if content else []), headers, BYTES_MAX) == content


async def test_body_announced_as_too_large_is_refused_unread(bodies: BodyReader) -> None:
    with pytest.raises(BodyTooLarge, match="11 bytes"):
        await bodies.read(FakeProtocol(end="never"), of_length(11), BYTES_MAX)


@pytest.mark.parametrize("headers", [CHUNKED, NO_LENGTH, with_both_lengths(1)])
async def test_body_of_unknown_length_is_refused_at_the_limit(bodies: BodyReader, headers: FakeHeaders) -> None:
    with pytest.raises(BodyTooLarge, match=f"more than {BYTES_MAX} bytes"):
        await bodies.read(FakeProtocol([b"x" * 6, b"x" * 5], end="never"), headers, BYTES_MAX)


@pytest.mark.parametrize("headers", [of_length(6), CHUNKED, with_both_lengths(3)])
@pytest.mark.parametrize("parts", [[b"abc"], []])
async def test_truncated_body_is_refused(bodies: BodyReader, headers: FakeHeaders, parts: list[bytes]) -> None:
    with pytest.raises(BodyTimeout, match="connection ended"):
        await bodies.read(FakeProtocol(parts, end="cut off"), headers, BYTES_MAX)


async def test_empty_frame_of_http_2_does_not_end_a_body(bodies: BodyReader) -> None:
    assert await bodies.read(FakeProtocol([b"abc", b""]), NO_LENGTH, BYTES_MAX) == b"abc"


async def test_late_body_is_refused(swept: BodyReader, clock: FakeClock) -> None:
    client = FakeProtocol([b"abc"], end="never")
    reading = asyncio.create_task(swept.read(client, CHUNKED, BYTES_MAX))
    await until(lambda: client.waits)

    clock.advance(TIMEOUT_SECONDS + 0.001)

    with pytest.raises(BodyTimeout):
        await reading
    assert not reading.cancelled()


async def test_task_of_a_late_body_can_still_respond(swept: BodyReader, clock: FakeClock) -> None:
    client = FakeProtocol(end="never")

    async def respond() -> str:
        with pytest.raises(BodyTimeout):
            await swept.read(client, CHUNKED, BYTES_MAX)
        await asyncio.sleep(0)
        return "408"

    responding = asyncio.create_task(respond())
    await until(lambda: client.waits)
    clock.advance(TIMEOUT_SECONDS + 0.001)

    assert await responding == "408"
    assert responding.cancelling() == 0


async def test_only_bodies_past_their_deadline_are_refused(swept: BodyReader, clock: FakeClock) -> None:
    early, late = FakeProtocol([b"abc"], end="never"), FakeProtocol([b"abc"], end="never")
    first = asyncio.create_task(swept.read(early, CHUNKED, BYTES_MAX))
    await until(lambda: early.waits)
    clock.advance(TIMEOUT_SECONDS - 1)
    second = asyncio.create_task(swept.read(late, CHUNKED, BYTES_MAX))
    await until(lambda: late.waits)

    clock.advance(1.001)
    await asyncio.wait([first])

    assert isinstance(first.exception(), BodyTimeout)
    assert not second.done()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_cancelled_reader_is_not_late(swept: BodyReader) -> None:
    client = FakeProtocol(end="never")
    reading = asyncio.create_task(swept.read(client, CHUNKED, BYTES_MAX))
    await until(lambda: client.waits)

    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading

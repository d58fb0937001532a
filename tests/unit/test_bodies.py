import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from ingest.bodies import BodyReader, Receive
from ingest.errors import BodyTimeout, BodyTooLarge
from tests.unit.fakes import FakeClock, until

TIMEOUT_SECONDS = 5.0
BYTES_MAX = 10


def chunk(content: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


GONE = {"type": "http.disconnect"}


class Client:
    """Sends `messages`, and then nothing."""

    def __init__(self, messages: Iterable[dict[str, Any]]) -> None:
        self._messages = list(messages)
        self.waits = False

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        self.waits = True
        await asyncio.Future()
        raise AssertionError("nothing comes")


def sends(*messages: dict[str, Any]) -> Receive:
    return Client(messages).receive


@pytest.fixture
def bodies(clock: FakeClock) -> BodyReader:
    return BodyReader(TIMEOUT_SECONDS, clock.monotonic)


@pytest.fixture
async def swept(bodies: BodyReader) -> AsyncIterator[BodyReader]:
    sweep = asyncio.create_task(bodies.sweep())
    yield bodies
    sweep.cancel()
    await asyncio.wait([sweep])


@pytest.mark.parametrize("length", [6, None])
@pytest.mark.parametrize(
    "messages",
    [
        [chunk(b"abcdef", more=False)],
        [chunk(b"abcdef"), chunk(b"", more=False)],
        [chunk(b"ab"), chunk(b""), chunk(b"cde"), chunk(b"f", more=False)],
        [chunk(b""), chunk(b"abcdef"), chunk(b"", more=False)],
    ],
)
async def test_body_is_read_whole(bodies: BodyReader, length: int | None, messages: list[dict[str, Any]]) -> None:
    assert await bodies.read(sends(*messages), length, BYTES_MAX) == b"abcdef"


@pytest.mark.parametrize("messages", [[chunk(b"abcdef")], [chunk(b"ab"), chunk(b"cdef")]])
async def test_read_ends_with_the_last_byte_of_content_length(
    bodies: BodyReader, messages: list[dict[str, Any]]
) -> None:
    """Granian says `more_body` with it: the next message would come when the client has gone."""
    assert await bodies.read(sends(*messages), 6, BYTES_MAX) == b"abcdef"


@pytest.mark.parametrize("content", [b"", b"x" * BYTES_MAX], ids=["empty", "at the limit"])
async def test_body_may_have_any_length_up_to_the_limit(bodies: BodyReader, content: bytes) -> None:
    for length in (len(content), None):
        assert await bodies.read(sends(chunk(content), chunk(b"", more=False)), length, BYTES_MAX) == content


async def test_body_that_says_it_is_too_large_is_refused_unread(bodies: BodyReader) -> None:
    with pytest.raises(BodyTooLarge, match="11 bytes"):
        await bodies.read(sends(), 11, BYTES_MAX)


@pytest.mark.parametrize(
    "messages",
    [
        [chunk(b"x" * 6), chunk(b"x" * 5)],
        [chunk(b"x" * 11), chunk(b"", more=False)],
        [chunk(b"x" * 11, more=False)],
    ],
)
async def test_chunked_body_is_refused_once_it_is_too_large(bodies: BodyReader, messages: list[dict[str, Any]]) -> None:
    with pytest.raises(BodyTooLarge, match=f"more than the {BYTES_MAX} bytes"):
        await bodies.read(sends(*messages), None, BYTES_MAX)


@pytest.mark.parametrize("length", [6, None])
async def test_body_cut_off_by_its_client_is_not_taken(bodies: BodyReader, length: int | None) -> None:
    with pytest.raises(BodyTimeout, match="connection ended"):
        await bodies.read(sends(chunk(b"abc"), GONE), length, BYTES_MAX)


async def test_connection_lost_before_the_body_is_no_empty_body(bodies: BodyReader) -> None:
    with pytest.raises(BodyTimeout, match="connection ended"):
        await bodies.read(sends(GONE), None, BYTES_MAX)


async def test_body_that_ends_short_of_its_length_is_not_taken(bodies: BodyReader) -> None:
    with pytest.raises(BodyTimeout, match="connection ended"):
        await bodies.read(sends(chunk(b"abc"), chunk(b"", more=False)), 6, BYTES_MAX)


async def test_body_that_does_not_come_in_time_is_given_up(swept: BodyReader, clock: FakeClock) -> None:
    client = Client([chunk(b"abc")])
    reading = asyncio.create_task(swept.read(client.receive, 6, BYTES_MAX))
    await until(lambda: client.waits)

    clock.advance(TIMEOUT_SECONDS + 0.001)

    with pytest.raises(BodyTimeout):
        await reading
    assert not reading.cancelled()


async def test_a_late_body_leaves_its_task_able_to_answer(swept: BodyReader, clock: FakeClock) -> None:
    client = Client([])

    async def answer() -> str:
        with pytest.raises(BodyTimeout):
            await swept.read(client.receive, 6, BYTES_MAX)
        await asyncio.sleep(0)
        return "408"

    answering = asyncio.create_task(answer())
    await until(lambda: client.waits)
    clock.advance(TIMEOUT_SECONDS + 0.001)

    assert await answering == "408"
    assert answering.cancelling() == 0


async def test_only_bodies_past_their_deadline_are_given_up(swept: BodyReader, clock: FakeClock) -> None:
    early, late = Client([chunk(b"abc")]), Client([chunk(b"abc")])
    first = asyncio.create_task(swept.read(early.receive, 6, BYTES_MAX))
    await until(lambda: early.waits)
    clock.advance(TIMEOUT_SECONDS - 1)
    second = asyncio.create_task(swept.read(late.receive, 6, BYTES_MAX))
    await until(lambda: late.waits)

    clock.advance(1.001)
    await asyncio.wait([first])

    assert isinstance(first.exception(), BodyTimeout)
    assert not second.done()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_cancelling_a_reader_is_not_taken_for_lateness(swept: BodyReader) -> None:
    client = Client([])
    reading = asyncio.create_task(swept.read(client.receive, 6, BYTES_MAX))
    await until(lambda: client.waits)

    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading

"""How messages are put into a stream's frames, and how a stream's address and messages are read."""

import pytest
from rstream import ConfirmationStatus

from ingest.publisher.amqp1 import encode
from ingest.publisher.stream_address import StreamAddress
from ingest.publisher.stream_connection import (
    FRAME_OVERHEAD_BYTES,
    MESSAGE_OVERHEAD_BYTES,
    StreamConnection,
    frames_of,
)
from ingest.publisher.stream_reader import StreamMessage, decoded

FRAME_BYTES_MAX = 1000
MESSAGE_BYTES_MAX = FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES - MESSAGE_OVERHEAD_BYTES


def framed(*sizes: int) -> list[list[int]]:
    """The publishing ids in each frame, the first of all being 10."""
    frames = list(frames_of([b"x" * size for size in sizes], 10, FRAME_BYTES_MAX))
    for frame in frames:
        size = FRAME_OVERHEAD_BYTES + sum(MESSAGE_OVERHEAD_BYTES + len(message.data) for message in frame)
        assert size <= FRAME_BYTES_MAX
    return [[message.publishing_id or 0 for message in frame] for frame in frames]


def test_small_batch_is_one_frame() -> None:
    assert framed(1, 2, 3) == [[10, 11, 12]]


def test_frame_is_filled_to_the_last_byte_and_not_over_it() -> None:
    half = (MESSAGE_BYTES_MAX - MESSAGE_OVERHEAD_BYTES) // 2
    odd = (MESSAGE_BYTES_MAX - MESSAGE_OVERHEAD_BYTES) % 2
    assert framed(half, half + odd, 1) == [[10, 11], [12]]
    assert framed(half, half + odd + 1, 1) == [[10], [11, 12]]


def test_largest_message_has_a_frame_of_its_own() -> None:
    assert framed(1, MESSAGE_BYTES_MAX, 1) == [[10], [11], [12]]


def test_message_over_the_limit_is_left_out_and_its_publishing_id_with_it() -> None:
    assert framed(1, MESSAGE_BYTES_MAX + 1, 1) == [[10, 12]]
    assert framed(MESSAGE_BYTES_MAX + 1) == []


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("rabbitmq-stream://guest:guest@localhost", ("localhost", 5552, "guest", "guest", "/", False, None)),
        ("rabbitmq-stream://u:p%40ss@h:1234/", ("h", 1234, "u", "p@ss", "/", False, None)),
        ("rabbitmq-stream://u:p@h/calls%2Feu", ("h", 5552, "u", "p", "calls/eu", False, None)),
        ("rabbitmq-stream://u:p@h/%2F", ("h", 5552, "u", "p", "/", False, None)),
        ("rabbitmq-stream+tls://u:p@h/?cafile=/ca.pem", ("h", 5551, "u", "p", "/", True, "/ca.pem")),
    ],
)
def test_address_is_read_from_the_url(url: str, address: tuple[object, ...]) -> None:
    assert StreamAddress.parse(url) == StreamAddress(*address)  # type: ignore[arg-type]  # as listed above


def test_message_of_ours_is_read_back() -> None:
    message = encode(7, "звонок", '{"a": "é"}'.encode(), 1_738_331_100_999)
    assert decoded(message) == StreamMessage("7", "звонок", 1_738_331_100, '{"a": "é"}'.encode())


def test_message_of_somebody_else_is_its_bytes() -> None:
    assert decoded(b'{"no": "AMQP 1.0"}') == StreamMessage("", "", 0, b'{"no": "AMQP 1.0"}')
    assert decoded(b"\x00\x53\x75\xa0\x02hi") == StreamMessage("", "", 0, b"hi")


@pytest.mark.parametrize("code", [2, 6, 18], ids=["no such stream", "not available", "no such publisher"])
async def test_refusal_that_only_another_connection_ends_drops_this_one(code: int) -> None:
    connection = StreamConnection(StreamAddress.parse("rabbitmq-stream://h"), "calls", 1.0)
    connection._status(ConfirmationStatus(1, False, 16))  # access refused: that message's own matter
    assert connection.problem is None
    connection._status(ConfirmationStatus(1, False, code))
    assert connection.problem

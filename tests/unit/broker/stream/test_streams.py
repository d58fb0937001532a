"""Frames of a stream, its address, its messages, and its partitions."""

import pytest
from rstream import schema
from rstream.encoding import decode_frame, encode_frame

from ingest.broker.stream.address import StreamAddress
from ingest.broker.stream.message import encode, message_id_of
from ingest.broker.stream.node import DeclaredProducer, Publication
from ingest.broker.stream.partitions import partition_names, partition_of
from ingest.broker.stream.reader import StreamMessage, decoded
from ingest.broker.stream.wire import FRAME_OVERHEAD_BYTES, MESSAGE_OVERHEAD_BYTES, publish_frames, read_confirm
from ingest.errors import BrokerUnavailable

FRAME_BYTES_MAX = 1000
MESSAGE_BYTES_MAX = FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES - MESSAGE_OVERHEAD_BYTES


def framed(*sizes: int) -> list[list[int]]:
    """Return the publishing ids in each frame. The first id is 10."""
    messages = [(10 + at, b"x" * size) for at, size in enumerate(sizes)]
    found, ids = [], []
    for frame in publish_frames(7, messages, FRAME_BYTES_MAX):
        assert len(frame) <= FRAME_BYTES_MAX
        assert int.from_bytes(frame[:4], "big") == len(frame) - 4
        read = decode_frame(frame[4:])
        assert isinstance(read, schema.Publish)
        assert read.publisher_id == 7
        found += [(message.publishing_id, message.data) for message in read.messages]
        ids.append([message.publishing_id or 0 for message in read.messages])
    assert found == messages
    return ids


def test_small_batch_is_one_frame() -> None:
    assert framed(1, 2, 3) == [[10, 11, 12]]


def test_frame_is_filled_to_the_last_byte_and_not_over_it() -> None:
    half = (MESSAGE_BYTES_MAX - MESSAGE_OVERHEAD_BYTES) // 2
    odd = (MESSAGE_BYTES_MAX - MESSAGE_OVERHEAD_BYTES) % 2
    assert framed(half, half + odd, 1) == [[10, 11], [12]]
    assert framed(half, half + odd + 1, 1) == [[10], [11, 12]]


def test_largest_message_has_a_frame_of_its_own() -> None:
    assert framed(1, MESSAGE_BYTES_MAX, 1) == [[10], [11], [12]]


@pytest.mark.parametrize("ids", [[], [1], [1 << 63, 2, 3]])
def test_confirm_is_read_as_rstream_reads_it(ids: list[int]) -> None:
    frame = encode_frame(schema.PublishConfirm(7, ids))[4:]
    assert read_confirm(frame) == decode_frame(frame)


def test_other_frames_are_rstreams_to_read() -> None:
    assert read_confirm(encode_frame(schema.PublishError(7, []))[4:]) is None


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


def test_message_of_another_publisher_is_read_as_bytes() -> None:
    assert decoded(b'{"no": "AMQP 1.0"}') == StreamMessage("", "", 0, b'{"no": "AMQP 1.0"}')
    assert decoded(b"\x00\x53\x75\xa0\x02hi") == StreamMessage("", "", 0, b"hi")


def test_our_message_tells_its_id_without_being_decoded() -> None:
    for event_type in ("t", "звонок" * 30):
        assert message_id_of(encode(123_456_789_012, event_type, b"{}", 1, {"token": "x"})) == 123_456_789_012
    for other in (b"", b"{}", b"\x00\x53\x73\xc0\x04\x01\xa1\x01x", b"\x00\x53\x75\xa0\x02hi"):
        assert message_id_of(other) is None


@pytest.mark.parametrize(("key", "partition"), [("0", 2), ("1", 2), ("100", 1), ("call-é", 0), ("", 1)])
def test_partition_is_murmur3_of_the_call_as_of_the_java_client(key: str, partition: int) -> None:
    """The numbers come from another murmur3 (32 bits, seed 104729), after the pseudo code of its author."""
    assert partition_of(key, 3) == partition == murmur3(key.encode(), 104_729) % 3


def murmur3(data: bytes, seed: int) -> int:
    mask, h = 0xFFFFFFFF, seed
    blocks = len(data) // 4
    for at in range(blocks):
        h ^= scrambled(int.from_bytes(data[4 * at : 4 * at + 4], "little"))
        h = ((h << 13 | h >> 19) & mask) * 5 + 0xE6546B64 & mask
    h ^= scrambled(int.from_bytes(data[4 * blocks :], "little")) ^ len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & mask
    h = (h ^ h >> 13) * 0xC2B2AE35 & mask
    return h ^ h >> 16


def scrambled(k: int) -> int:
    k = k * 0xCC9E2D51 & 0xFFFFFFFF
    return (k << 15 | k >> 17) * 0x1B873593 & 0xFFFFFFFF


def test_one_partition_is_a_plain_stream() -> None:
    assert partition_names("calls", 1) == ["calls"]
    assert partition_names("calls", 3) == ["calls-0", "calls-1", "calls-2"]


async def test_last_answer_completes_the_publication() -> None:
    producer, publication = DeclaredProducer("calls", 1), Publication(3)
    producer.expect([1, 2, 3], publication)
    assert producer.overlapping([0, 4]) is None
    assert producer.overlapping(iter([0, 3])) is publication  # the ids are read once
    producer.answer([1, 7])
    producer.answer([2], refused=True)
    assert (len(producer), publication.done.done()) == (1, False)
    producer.answer([3])
    assert (len(producer), publication.done.done(), publication.refused) == (0, True, {2})


async def test_open_messages_of_a_lost_producer_stay_unknown() -> None:
    producer, publication = DeclaredProducer("calls", 1), Publication(1)
    producer.expect([1], publication)
    producer.fail("gone")
    with pytest.raises(BrokerUnavailable, match="gone"):
        await publication.done

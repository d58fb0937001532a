"""Confirms and returned messages are taken off the wire, and aiormq gets everything else."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from aiormq.connection import FrameReceiver
from aiormq.exceptions import InvalidFrameError
from hypothesis import given
from hypothesis import strategies as st
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Queue
from pamqp.frame import FrameTypes, marshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from ingest.broker.amqp.frames import FRAME_BYTES_MAX, FRAME_OVERHEAD_BYTES
from ingest.broker.amqp.wire import HEARTBEAT, HEARTBEAT_PAUSE_SECONDS, ConfirmReader
from tests.unit.fakes import FakeClock

OURS, ALSO_OURS, OTHER = 1, 2, 3
"""Channels: two with a window, and one that only aiormq knows."""
BODY_BYTES_MAX = 1000
PIECE_BYTES = 700
RETURN = Basic.Return(312, "NO_ROUTE", "", "calls")
BODIES = st.binary(max_size=3 * BODY_BYTES_MAX)
Seen = tuple[int, str, int, bool]
"""Channel, what came, tag or event id, and whether it is for all up to it."""


DECLARED = marshal(Queue.DeclareOk("calls", 1, 0), OTHER)


class Recorder:
    """A window that keeps what it is given."""

    def __init__(self, channel: int, seen: list[Seen]) -> None:
        self._channel = channel
        self._seen = seen

    def answer(self, tag: int, multiple: bool, refused: bool) -> None:
        self._seen.append((self._channel, "nack" if refused else "ack", tag, multiple))

    def returned(self, event_id: int) -> None:
        self._seen.append((self._channel, "return", event_id, False))


class Broker:
    """A connection's bytes come in, and are recorded."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.seen: list[Seen] = []
        self.reader = ConfirmReader((clock or FakeClock()).monotonic)
        for channel in (OURS, ALSO_OURS):
            self.open(channel)

    def open(self, channel: int) -> None:
        self.reader.deliver(channel, Recorder(channel, self.seen))

    def send(self, *pieces: bytes) -> bytes:
        """Return the bytes for aiormq."""
        return b"".join(self.reader.feed(piece) for piece in pieces)


def ack(tag: int, multiple: bool = False, channel: int = OURS) -> bytes:
    return marshal(Basic.Ack(tag, multiple), channel)


def header(message_id: str | None) -> bytes:
    return marshal(ContentHeader(0, 1, Basic.Properties(message_id=message_id)), OURS)


def nack(tag: int, multiple: bool = False, channel: int = OURS) -> bytes:
    return marshal(Basic.Nack(tag, multiple), channel)


def content(method: Frame, message_id: str | None, body: bytes, channel: int) -> bytes:
    properties = Basic.Properties("application/json", headers={"traceparent": "00"}, message_id=message_id)
    bodies = [ContentBody(body[at : at + BODY_BYTES_MAX]) for at in range(0, len(body), BODY_BYTES_MAX)]
    frames: list[FrameTypes] = [method, ContentHeader(0, len(body), properties), *bodies]
    return b"".join(marshal(frame, channel) for frame in frames)


def returned(event_id: int, body: bytes = b"{}", channel: int = OURS) -> bytes:
    return content(RETURN, str(event_id), body, channel)


def delivered(body: bytes) -> bytes:
    return content(Basic.Deliver("me", 1, False, "", "calls"), None, body, OTHER)


@st.composite
def taken(draw: st.DrawFn) -> tuple[bytes, Seen]:
    """Frames for a window, and what it sees of them."""
    tag, multiple = draw(st.integers(1, (1 << 63) - 1)), draw(st.booleans())
    channel = draw(st.sampled_from([OURS, ALSO_OURS]))
    match draw(st.sampled_from(["ack", "nack", "return"])):
        case "ack":
            return ack(tag, multiple, channel), (channel, "ack", tag, multiple)
        case "nack":
            return nack(tag, multiple, channel), (channel, "nack", tag, multiple)
    return returned(tag, draw(BODIES), channel), (channel, "return", tag, False)


@st.composite
def passed_on(draw: st.DrawFn) -> tuple[bytes, None]:
    """Frames for aiormq."""
    flow = marshal(Channel.FlowOk(True), OURS)
    frames = [marshal(Heartbeat(), 0), flow, DECLARED, ack(1, channel=OTHER), nack(2, channel=OTHER)]
    return draw(st.one_of(st.sampled_from(frames), st.builds(delivered, BODIES))), None


def pieces(stream: bytes, data: st.DataObject) -> list[bytes]:
    """Split it anywhere, or at every byte."""
    cuts = data.draw(st.one_of(st.sets(st.integers(0, len(stream))), st.just(range(len(stream)))))
    return [stream[start:end] for start, end in pairwise([0, *sorted(cuts), len(stream)])]


@given(st.lists(st.one_of(taken(), passed_on()), max_size=12), st.data())
def test_splits_change_neither_the_confirms_nor_the_bytes_for_aiormq(
    frames: Sequence[tuple[bytes, Seen | None]], data: st.DataObject
) -> None:
    broker = Broker()

    passed = broker.send(*pieces(b"".join(frame for frame, _ in frames), data))

    assert broker.seen == [seen for _, seen in frames if seen]
    assert passed == b"".join(frame for frame, seen in frames if not seen)


@given(st.binary(max_size=300), st.data())
def test_splits_of_noise_change_nothing_either(noise: bytes, data: st.DataObject) -> None:
    stream = ack(1) + noise + ack(2)
    whole, split = Broker(), Broker()

    assert split.send(*pieces(stream, data)) == whole.send(stream)
    assert split.seen == whole.seen


def test_return_comes_before_its_ack_and_later_confirms_are_still_taken() -> None:
    broker = Broker()

    assert not broker.send(ack(1), returned(7) + ack(2), ack(3))
    assert [what for _, what, _, _ in broker.seen] == ["ack", "return", "ack", "ack"]


def test_body_that_looks_like_a_confirm_is_none() -> None:
    confirm = ack(5)[FRAME_OVERHEAD_BYTES - 1 : -1]
    broker = Broker()
    assert not broker.send(returned(7, confirm))
    assert broker.seen == [(OURS, "return", 7, False)]


def test_body_larger_than_any_buffer_is_passed_on_as_it_comes() -> None:
    body = marshal(ContentBody(bytes(1_000_000)), OTHER)
    broker = Broker()
    for at in range(0, len(body), PIECE_BYTES):
        assert broker.send(body[at : at + PIECE_BYTES]) == body[at : at + PIECE_BYTES]


@pytest.mark.parametrize("end", [Channel.Close(406, "PRECONDITION_FAILED", 60, 40), Channel.CloseOk()])
def test_number_used_again_does_not_confirm_messages_of_the_closed_channel(end: Frame) -> None:
    broker = Broker()
    closed = marshal(end, OURS)

    assert broker.send(ack(1) + closed + ack(2)) == closed + ack(2)
    broker.open(OURS)
    assert not broker.send(ack(3))
    assert [tag for _, _, tag, _ in broker.seen] == [1, 3]


def with_end(frame: bytes, end: int) -> bytes:
    return frame[:-1] + bytes((end,))


HUGE_HEADER = b"\x02\0\x01" + FRAME_BYTES_MAX.to_bytes(4)
MALFORMED = {
    "ack without its end": with_end(ack(1), 0),
    "nack without its end": with_end(nack(1), 0x7F),
    "ack that is too long": b"\x01\0\x01\0\0\0\x0e\0\x3c\0\x50" + bytes(9) + b"\xce\xce",
    "ack that is too short": b"\x01\0\x01\0\0\0\x04\0\x3c\0\x50\xce",
    "return without its end": with_end(marshal(RETURN, OURS), 0),
    "body without its end": with_end(returned(1), 0),
    "header without its end": with_end(header("1"), 0),
    "header without an id": header(None),
    "header with another's id": header("x"),
    "header that is cut": b"\x02\0\x01\0\0\0\x02\0\x3c\xce",
    "header that is too large": HUGE_HEADER,
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED)
async def test_aiormq_finds_a_malformed_frame_and_nothing_after_it_counts(frame: bytes) -> None:
    broker = Broker()

    passed = broker.send(ack(5), DECLARED, *(bytes((byte,)) for byte in frame), ack(6), DECLARED)

    assert (OURS, "ack", 6, False) not in broker.seen
    receiver = receiver_of([passed])
    assert (await receiver.get_frame())[2].name == "Queue.DeclareOk"
    with pytest.raises(InvalidFrameError):
        await receiver.get_frame()
    assert receiver.reader.at_eof()


async def test_aiormq_gets_a_heartbeat_a_second_if_only_confirms_come(clock: FakeClock) -> None:
    broker = Broker(clock)
    passed = []
    for tag in range(1, 9):
        clock.advance(HEARTBEAT_PAUSE_SECONDS / 2)
        passed.append(broker.send(ack(tag)))
    assert passed == [b"", HEARTBEAT] * 4
    assert isinstance((await receiver_of(passed).get_frame())[2], Heartbeat)


def test_no_heartbeat_is_put_into_a_frame(clock: FakeClock) -> None:
    broker, stream = Broker(clock), delivered(bytes(5000)) + ack(1)
    passed = b""
    for byte in stream:
        clock.advance(HEARTBEAT_PAUSE_SECONDS * 2)
        passed += broker.send(bytes((byte,)))
    assert passed.replace(HEARTBEAT, b"") == delivered(bytes(5000))
    assert delivered(bytes(5000)).partition(b"\xce")[0] in passed


def test_no_heartbeat_comes_before_the_first_channel(clock: FakeClock) -> None:
    reader = ConfirmReader(clock.monotonic)
    clock.advance(HEARTBEAT_PAUSE_SECONDS * 2)
    assert reader.feed(b"\x01") + reader.feed(b"\0\0\0") == b""


def receiver_of(pieces: Iterable[bytes]) -> FrameReceiver:
    """Return aiormq's own reader of these bytes."""
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    return FrameReceiver(reader)

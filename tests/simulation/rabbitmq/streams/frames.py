"""Frames of the stream protocol, as the server reads and writes them."""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rstream.encoding import decode_frame, encode_frame
from rstream.schema import Frame

PUBLISH, SUBSCRIBE = 2, 7
RESPONSE = 0x8000
OFFSET, TIMESTAMP = 4, 5

_publish_head = struct.Struct(">HHBI")
_message = struct.Struct(">QI")


class Publish(NamedTuple):
    publisher: int
    messages: Sequence[tuple[int, bytes]]
    """Publishing ids and AMQP 1.0 messages."""


class Subscribe(NamedTuple):
    correlation_id: int
    subscription: int
    stream: str
    offset_type: int
    value: int
    credit: int


class Splitter:
    def __init__(self) -> None:
        self._left = b""

    def frames(self, data: bytes) -> Iterator[bytes]:
        """Yield frames without their length."""
        data = self._left + data if self._left else data
        at = 0
        while len(data) - at >= 4:
            end = at + 4 + int.from_bytes(data[at : at + 4])
            if end > len(data):
                break
            yield data[at + 4 : end]
            at = end
        self._left = data[at:]


def read(frame: bytes) -> Any:
    """A `Publish`, a `Subscribe`, or a frame of rstream."""
    key = int.from_bytes(frame[:2])
    if key == PUBLISH:
        return _publish(frame)
    return _subscribe(frame) if key == SUBSCRIBE else decode_frame(frame)


def response(frame: Frame) -> bytes:
    """The bytes of a response, whose key has its highest bit set."""
    data = bytearray(encode_frame(frame))
    data[4] |= RESPONSE >> 8
    return bytes(data)


def confirm(publisher: int, ids: Sequence[int]) -> bytes:
    body = struct.pack(f">HHBI{len(ids)}Q", 3, 1, publisher, len(ids), *ids)
    return len(body).to_bytes(4) + body


def _publish(frame: bytes) -> Publish:
    _, version, publisher, count = _publish_head.unpack_from(frame)
    at, messages = _publish_head.size, []
    for _ in range(count):
        filter_bytes = 2 + int.from_bytes(frame[at + 8 : at + 10]) if version == 2 else 0
        publishing_id = int.from_bytes(frame[at : at + 8])
        begin = at + 12 + filter_bytes
        size = int.from_bytes(frame[begin - 4 : begin])
        at = begin + size
        messages.append((publishing_id, frame[begin:at]))
    return Publish(publisher, messages)


def _subscribe(frame: bytes) -> Subscribe:
    """Its offset has a value for some types only, so rstream does not read it."""
    correlation, subscription, length = struct.unpack_from(">IBH", frame, 4)
    at = 11 + length
    stream = frame[11:at].decode()
    offset_type = int.from_bytes(frame[at : at + 2])
    at += 2
    value = 0
    if offset_type in (OFFSET, TIMESTAMP):
        value = int.from_bytes(frame[at : at + 8])
        at += 8
    return Subscribe(correlation, subscription, stream, offset_type, value, int.from_bytes(frame[at : at + 2]))

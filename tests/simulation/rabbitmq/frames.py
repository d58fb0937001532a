"""AMQP frames, as the server reads and writes them. Publishes are read without an object of each."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import pamqp.frame
from pamqp import commands

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
PUBLISH = struct.pack(">HH", 60, 40)
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT_FRAME = b"\x08\0\0\0\0\0\0\xce"

_start = struct.Struct(">BHI")
_header = struct.Struct(">HHQH")
PERSISTENT = 2
"""The delivery mode."""
SHORT_STRINGS_BEFORE_ID = (1 << 10, 1 << 9, 1 << 8)
"""The flags of correlation id, reply to and expiration."""


class Frame(NamedTuple):
    kind: int
    channel: int
    payload: bytes


class Publish(NamedTuple):
    exchange: str
    routing_key: str
    mandatory: bool


class Splitter:
    """Splits the bytes of a connection into frames."""

    def __init__(self) -> None:
        self._left = b""

    def frames(self, data: bytes) -> Iterator[Frame]:
        data = self._left + data if self._left else data
        at, end = 0, len(data)
        while end - at >= _start.size:
            kind, channel, size = _start.unpack_from(data, at)
            after = at + _start.size + size + 1
            if after > end:
                break
            yield Frame(kind, channel, data[at + _start.size : after - 1])
            at = after
        self._left = data[at:]


def method_of(payload: bytes) -> Any:
    """The method's object of pamqp."""
    whole = _start.pack(METHOD, 0, len(payload)) + payload + b"\xce"
    return pamqp.frame.unmarshal(whole)[2]


def marshalled(method: Any, channel: int) -> bytes:
    return bytes(pamqp.frame.marshal(method, channel))


@lru_cache(10_000)
def publish_of(payload: bytes) -> Publish:
    exchange, at = _short_string(payload, 6)
    key, at = _short_string(payload, at)
    return Publish(exchange.decode(), key.decode(), bool(payload[at] & 1))


def body_size_of(header: bytes) -> int:
    size: int = _header.unpack_from(header)[2]
    return size


def properties_of(header: bytes) -> tuple[bool, str]:
    """Return True for a persistent message, and its id. No object of all properties is made.

    The properties come in the order of their flags.
    """
    flags, at = _header.unpack_from(header)[3], _header.size
    for flag in (1 << 15, 1 << 14):
        if flags & flag:
            at += 1 + header[at]
    if flags & 1 << 13:
        at += 4 + int.from_bytes(header[at : at + 4])
    persistent = bool(flags & 1 << 12) and header[at] == PERSISTENT
    at += bool(flags & 1 << 12) + bool(flags & 1 << 11)
    for flag in SHORT_STRINGS_BEFORE_ID:
        if flags & flag:
            at += 1 + header[at]
    return persistent, _short_string(header, at)[0].decode() if flags & 1 << 7 else ""


def content(channel: int, header: bytes, body: bytes, frame_bytes_max: int) -> bytes:
    """The frames of a returned message, after its method."""
    parts = [_framed(HEADER, channel, header)]
    limit = frame_bytes_max - 8
    parts += [_framed(BODY, channel, body[at : at + limit]) for at in range(0, len(body), limit)]
    return b"".join(parts)


def ack(channel: int, tag: int, multiple: bool) -> bytes:
    return struct.pack(">BHIHHQBB", METHOD, channel, 13, 60, 80, tag, multiple, 0xCE)


def nack(channel: int, tag: int, multiple: bool) -> bytes:
    return struct.pack(">BHIHHQBB", METHOD, channel, 13, 60, 120, tag, multiple, 0xCE)


def returned(publish: Publish) -> commands.Basic.Return:
    return commands.Basic.Return(312, "NO_ROUTE", publish.exchange, publish.routing_key)


def _framed(kind: int, channel: int, payload: bytes) -> bytes:
    return _start.pack(kind, channel, len(payload)) + payload + b"\xce"


def _short_string(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end], end

"""rstream's client with a faster path for the work of each message: its publish and its confirm.

rstream writes and reads a frame field by field. Here one step joins all messages of a frame, and one step unpacks all
its confirms. Layouts are those of RabbitMQ's stream protocol. rstream does everything else.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from struct import Struct, unpack_from
from typing import Any, cast

from rstream import schema
from rstream.client import Client
from rstream.connection import Connection, ConnectionClosed
from rstream.encoding import decode_frame

FRAME_OVERHEAD_BYTES = 13
MESSAGE_OVERHEAD_BYTES = 12
"""A publish frame has length, key, version, publisher id and count. Each message has publishing id and length."""
READ_BYTES = 65_536

FILTER_LENGTH_BYTES = 2
FILTER_BYTES_MAX = FILTER_LENGTH_BYTES + 256
"""An event type has at most 64 characters of 4 bytes."""

_PUBLISH, _VERSION, _FILTERED_VERSION = 2, 1, 2
_CONFIRM = b"\x00\x03\x00\x01"
_PARTITIONS, _PARTITIONS_RESPONSE = b"\x00\x19", b"\x80\x19"
"""RabbitMQ 3.10 answers with the first key, as if it asked, if there is no such super stream."""
_pack_frame = Struct(">IHHBI").pack
_pack_message = Struct(">QI").pack
_pack_id, _pack_length = Struct(">Q").pack, Struct(">I").pack
_LENGTH_BYTES = 4

Message = tuple[int, bytes]
"""Publishing id and AMQP 1.0 message."""


Filters = Mapping[int, bytes]
"""Publishing id → filter value, as `filter_field` encodes it."""


def publish_frames(
    number: int, messages: Sequence[Message], frame_bytes_max: int, filters: Filters | None = None
) -> Iterator[bytes]:
    """Yield frames of the producer `number`, each with as many messages as fit. No message may exceed a frame.

    With `filters` the frames have version 2, in which each message has its filter value after its publishing id.
    """
    parts: list[bytes] = []
    size = FRAME_OVERHEAD_BYTES
    for publishing_id, data in messages:
        if filters is None:
            message = _pack_message(publishing_id, len(data)), data
        else:
            message = _pack_id(publishing_id) + filters[publishing_id] + _pack_length(len(data)), data
        more = len(message[0]) + len(data)
        if parts and size + more > frame_bytes_max:
            yield _frame(number, size, parts, filtered=filters is not None)
            parts, size = [], FRAME_OVERHEAD_BYTES
        parts += message
        size += more
    if parts:
        yield _frame(number, size, parts, filtered=filters is not None)


def _frame(number: int, size: int, parts: Sequence[bytes], *, filtered: bool) -> bytes:
    version = _FILTERED_VERSION if filtered else _VERSION
    head = _pack_frame(size - _LENGTH_BYTES, _PUBLISH, version, number, len(parts) // 2)
    return b"".join((head, *parts))


def filter_field(value: str) -> bytes:
    """Encode a filter value: its length in 2 bytes, and UTF-8."""
    encoded = value.encode()
    return len(encoded).to_bytes(FILTER_LENGTH_BYTES, "big") + encoded


def read_confirm(frame: bytes | bytearray) -> schema.PublishConfirm | None:
    """Read a frame of confirms, given without its length. Return None for any other frame."""
    if not frame.startswith(_CONFIRM):
        return None
    count = int.from_bytes(frame[5:9], "big")
    return schema.PublishConfirm(frame[4], list(unpack_from(f">{count}Q", frame, 9)))


class FastConnection(Connection):
    """See the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._corked: list[bytes] = []

    async def _read(self, n: int) -> bytearray:
        reader = cast(asyncio.StreamReader, self._reader)
        while len(self._buffer) < n:
            arrived = await reader.read(READ_BYTES)
            if not arrived:
                raise ConnectionClosed
            self._buffer += arrived
        wanted = self._buffer[:n]
        del self._buffer[:n]
        return wanted

    async def read_frame(self) -> schema.Frame:
        frame = await self._read_frame_raw()
        if frame.startswith(_PARTITIONS):
            frame[: len(_PARTITIONS)] = _PARTITIONS_RESPONSE
        return read_confirm(frame) or decode_frame(bytes(frame))

    async def write(self, frame: bytes) -> None:
        """Send a frame. Waits while the socket is full. Raises OSError."""
        await self._write_frame_raw(frame)

    async def _write_frame_raw(self, data: bytes) -> None:
        """Collect the frames of one round of the loop for one write: a system call costs more than a frame."""
        if not self._corked:
            asyncio.get_running_loop().call_soon(self._uncork)
        self._corked.append(data)
        await cast(asyncio.StreamWriter, self._writer).drain()

    def _uncork(self) -> None:
        frames, self._corked = self._corked, []
        if self._writer is not None and not self._writer.is_closing():  # otherwise no call waits for an answer any more
            self._writer.write(b"".join(frames))


class FastClient(Client):
    """See the module."""

    async def start(self) -> None:
        self._conn = FastConnection(self.host, self.port, self._ssl_context)
        await self._conn.open()
        self.start_task("listener", self._listener())
        self.add_handler(schema.Heartbeat, self._on_heartbeat)
        self.add_handler(schema.Close, self._on_close)

    async def publish_fast(self, number: int, messages: Sequence[Message], filters: Filters | None = None) -> None:
        """Send in as few frames as the broker's limit allows. Raises OSError if the connection is lost."""
        connection = cast(FastConnection, self._conn)
        for frame in publish_frames(number, messages, self.frame_max, filters):
            if not self.is_connection_alive():
                break
            await connection.write(frame)
        if not self.is_connection_alive():
            raise ConnectionResetError("The connection to RabbitMQ was lost.")

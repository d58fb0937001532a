"""The pipes of a connection in memory, and the client's transport on them."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

KERNEL_BYTES = 256 * 1024
"""The kernels of both hosts hold this much for a reader that does not read. Then the writer must wait."""


class Pipe:
    """One direction of a connection: bytes arrive in their order, after a while.

    `ended` is called after the last byte. All calls are made in `context`.
    """

    def __init__(
        self,
        deliver: Callable[[bytes], None],
        ended: Callable[[], None],
        seconds: Callable[[], float],
        context: Context,
    ) -> None:
        self._deliver = deliver
        self._ended = ended
        self._seconds = seconds
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[bytes] = deque()
        self._flowing = False
        self._is_ending = False
        self._paused = False
        self.on_flow: Callable[[], None] = lambda: None
        """Called when all bytes have arrived."""
        self.waiting_bytes = 0

    def send(self, data: bytes) -> None:
        if not self._is_ending:
            self._chunks.append(data)
            self.waiting_bytes += len(data)
            self._flow_soon()

    def end(self) -> None:
        if not self._is_ending:
            self._is_ending = True
            self._flow_soon()

    def cut(self) -> None:
        """End now. Bytes that have not arrived are lost."""
        self._chunks.clear()
        self.waiting_bytes = 0
        self._paused = False
        self.end()

    def pause(self) -> None:
        """The reader does not read for a while."""
        self._paused = True

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._flow_soon()

    def _flow_soon(self) -> None:
        if not self._flowing:
            self._flowing = True
            self._loop.call_later(self._seconds(), self._flow, context=self._context)

    def _flow(self) -> None:
        self._flowing = False
        if self._paused:
            return
        if self._chunks:
            data = b"".join(self._chunks)
            self._chunks.clear()
            self.waiting_bytes = 0
            self._deliver(data)
            self.on_flow()
        if self._is_ending and not self._chunks:
            self._ended()


class ClientTransport(asyncio.Transport):
    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__({"peername": ("simulated", 0)})
        self._protocol: Any = protocol
        self._to_server: Pipe | None = None
        self._closing = False
        self._lost = False
        self._waits = False

    def connect(self, to_server: Pipe) -> None:
        self._to_server = to_server
        to_server.on_flow = self._flowed

    def write(self, data: Any) -> None:
        assert self._to_server is not None
        if self._closing:
            return
        self._to_server.send(bytes(data))
        if self._to_server.waiting_bytes > KERNEL_BYTES and not self._waits:
            self._waits = True
            self._protocol.pause_writing()

    def _flowed(self) -> None:
        if self._waits and not self._lost:
            self._waits = False
            self._protocol.resume_writing()

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self._to_server.waiting_bytes if self._to_server else 0

    def close(self) -> None:
        assert self._to_server is not None
        if not self._closing:
            self._closing = True
            self._to_server.end()
            asyncio.get_running_loop().call_soon(self.lose)

    def abort(self) -> None:
        self.close()

    def lose(self) -> None:
        self._closing = True
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(None)

    def received(self, data: bytes) -> None:
        if not self._lost:
            self._protocol.data_received(data)

    def ended(self) -> None:
        """The server has closed the connection."""
        assert self._to_server is not None
        if not self._lost:
            self._to_server.end()
            self._protocol.eof_received()
            self.lose()

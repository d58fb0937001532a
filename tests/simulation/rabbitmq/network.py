"""A network in memory. An event loop whose `create_connection` is this one's reaches the models of servers by it."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Protocol

KERNEL_BYTES = 256 * 1024
"""The kernels of both hosts hold this much for a reader that does not read. Then the writer must wait."""


class Handler(Protocol):
    """The server's side of a connection."""

    def data_received(self, data: bytes) -> None: ...
    def connection_lost(self) -> None: ...


class Listener(Protocol):
    def accept(self, endpoint: "Endpoint") -> Handler:
        """Raises OSError if nobody listens."""


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


class Endpoint:
    """The server's side of its connection."""

    def __init__(self, to_client: Pipe, to_server: Pipe, owner: object) -> None:
        self.owner = owner
        """The simulated process that connected."""
        self._to_client = to_client
        self._to_server = to_server

    def send(self, data: bytes) -> None:
        self._to_client.send(data)

    def close(self) -> None:
        """The client still gets what was sent."""
        self._to_client.end()

    def reset(self) -> None:
        self._to_client.cut()
        self._to_server.cut()

    def pause_reading(self) -> None:
        self._to_server.pause()

    def resume_reading(self) -> None:
        self._to_server.resume()

    def client_ends(self) -> None:
        """The client's host closes the connection, as after kill -9."""
        self._to_server.end()


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


class Network:
    """`seconds` is how long bytes need. `owner` names the simulated process that connects."""

    def __init__(self, seconds: Callable[[], float] = lambda: 0.0, owner: Callable[[], object] = lambda: None) -> None:
        self._listeners: dict[tuple[str, int], tuple[Listener, Context]] = {}
        self._endpoints: dict[Endpoint, None] = {}
        self._seconds = seconds
        self._owner = owner

    def listen(self, host: str, port: int, listener: Listener) -> None:
        """The server's calls are made in the context of this call."""
        self._listeners[host, port] = listener, copy_context()

    def __contains__(self, address: object) -> bool:
        return address in self._listeners

    async def create_connection(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Like the method of an event loop. Raises OSError."""
        listener, context = self._listeners.get((host, port), (None, None))
        if listener is None or context is None:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        await asyncio.sleep(self._seconds())
        protocol = protocol_factory()
        transport = ClientTransport(protocol)
        server = _Server()
        to_client = Pipe(transport.received, transport.ended, self._seconds, copy_context())
        to_server = Pipe(server.data_received, server.ended, self._seconds, context)
        endpoint = Endpoint(to_client, to_server, self._owner())
        server.handler = context.run(listener.accept, endpoint)
        server.forget = lambda: self._endpoints.pop(endpoint, None)
        self._endpoints[endpoint] = None
        transport.connect(to_server)
        protocol.connection_made(transport)
        return transport, protocol

    def end_of(self, owner: object) -> None:
        """The process is dead: its host closes its connections."""
        for endpoint in [one for one in self._endpoints if one.owner is owner]:
            endpoint.client_ends()


class _Server:
    """Passes on to the handler, which exists only once the pipes do."""

    def __init__(self) -> None:
        self.handler: Handler | None = None
        self.forget: Callable[[], object] = lambda: None

    def data_received(self, data: bytes) -> None:
        assert self.handler is not None
        self.handler.data_received(data)

    def ended(self) -> None:
        assert self.handler is not None
        self.forget()
        self.handler.connection_lost()

"""A network in memory. An event loop whose `create_connection` is this one's reaches the models of servers by it."""

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Protocol

from tests.simulation.rabbitmq.pipes import ClientTransport, Pipe


class Handler(Protocol):
    """The server's side of a connection."""

    def data_received(self, data: bytes) -> None: ...
    def connection_lost(self) -> None: ...


class Listener(Protocol):
    def accept(self, endpoint: "Endpoint") -> Handler:
        """Raises OSError if nobody listens."""


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

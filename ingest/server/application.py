"""The application that Granian runs in each worker."""

import asyncio
import socket
from collections.abc import Awaitable, Mapping

from blacksheep import Application

from ingest.http.asgi import AsgiAdapter
from ingest.http.direct.listener import DirectListener
from ingest.http.rsgi import Handler, HttpProtocol, Scope
from ingest.server.draining import Sigterm, closing
from ingest.server.signals import let_through
from ingest.sources.handler import PREFIX
from ingest.status.health import Health


class IngestApplication(Application):
    """Calls the handlers of events directly through RSGI. BlackSheep serves all other paths."""

    def __init__(
        self, handlers: Mapping[str, Handler], sources: Handler, health: Health, drain_delay_seconds: float
    ) -> None:
        """`handlers` are by path; `sources` handles all paths below `/in/`."""
        super().__init__()
        self._handlers = handlers
        self._sources = sources
        self._pages = AsgiAdapter(self)
        self._other: Handler = self._handle_other
        self._health = health
        self._drain_delay_seconds = drain_delay_seconds
        self.direct: DirectListener | None = None
        """The listener of this worker, if Granian's is not used."""

    def __rsgi__(self, scope: Scope, protocol: HttpProtocol) -> Awaitable[None]:
        """Return the handler's coroutine. This function is not async, which saves an event request a coroutine."""
        return self._handlers.get(scope.path, self._other)(scope, protocol)

    async def _handle_other(self, scope: Scope, protocol: HttpProtocol) -> None:
        handler = self._sources if scope.path.startswith(PREFIX) else self._pages
        await handler(scope, protocol)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Granian calls this before it accepts requests."""
        sigterm = Sigterm(loop, self._drain_delay_seconds, self.drain)
        let_through()
        loop.run_until_complete(self.start())  # type: ignore[no-untyped-call] # BlackSheep has no types here
        if sigterm.received:
            self.__rsgi_del__(loop)
            raise SystemExit
        sigterm.serving()

    def listen(self, listening: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """Accept connections of this socket directly."""
        assert self.direct, "the settings chose it"  # noqa: S101 - a programming error
        self.direct.start(listening, loop)

    def drain(self) -> None:
        """Answer requests as before, but report draining and close each connection."""
        self._health.draining = True
        if self.direct:
            self.direct.drain()
        self._handlers = {path: closing(handler) for path, handler in self._handlers.items()}
        self._other = closing(self._other)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Granian calls this after the last answer."""
        loop.run_until_complete(self.stop())  # type: ignore[no-untyped-call] # see above

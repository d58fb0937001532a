"""The listener of the admin address, which serves pages and metrics apart from the port for events."""

import asyncio
from collections.abc import Callable

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from ingest.http.asgi import Application
from ingest.server.listeners.address import literal
from ingest.settings import Settings
from ingest.tasks import end, supervise
from ingest.telemetry.logs import log_config

CONNECTIONS_MAX = 64
HEAD_SECONDS = 15
STOP_SECONDS = 2.0


class Admin:
    """A listener in each worker, on the worker's event loop. The listeners of all workers share the port.

    So the listener stops with its worker, `/readyz` reports that worker's state, and no extra process is needed.
    """

    def __init__(self, application: Application, settings: Settings, count: Callable[[], None]) -> None:
        """`count` is called each time the listener fails. The listener then starts again."""
        self._application = application
        self._settings = settings
        self._count = count
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Begin to listen. The application starts by ASGI's lifespan messages."""
        self._serving = supervise(self._serve, "admin", self._count)

    async def stop(self) -> None:
        """Call this last, so that the pages show the drain."""
        self._stopping = True
        if self._server and self._serving:
            self._server.stop()  # type: ignore[no-untyped-call] # Granian has no types here
            await asyncio.wait([self._serving], timeout=STOP_SECONDS)
            await end([self._serving])

    async def _serve(self) -> None:
        self._server = _server(self._application, self._settings)
        await self._server.serve()
        if not self._stopping:
            raise RuntimeError("The listener of the admin address ended unexpectedly.")


def _server(application: Application, settings: Settings) -> Server:
    return Server(
        application,
        address=literal("INGEST_ADMIN_HOST", settings.admin_host),
        port=settings.admin_port,
        interface=Interfaces.ASGI,
        websockets=False,
        backpressure=CONNECTIONS_MAX,
        http1_settings=HTTP1Settings(header_read_timeout=HEAD_SECONDS * 1000),
        log_level=LogLevels.error,  # hides the start and stop of this listener
        log_dictconfig=log_config(settings.log_level),
    )

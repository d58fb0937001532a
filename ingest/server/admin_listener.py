"""The pages and metrics on an address of their own, for those who run the service, apart from where events come in."""

import asyncio
from collections.abc import Callable

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from ingest.http.asgi import Application
from ingest.server.listen_address import literal
from ingest.settings import Settings
from ingest.tasks import end, supervise
from ingest.telemetry.logs import log_config

CONNECTIONS_MAX = 64
HEAD_SECONDS = 15
STOP_SECONDS = 2.0


class Admin:
    """A listener in each worker, on the loop that it has: Granian's sockets share a port, as those for events do.

    So it lives and dies with its worker, whose state `/readyz` tells, and needs no process of its own.
    """

    def __init__(self, application: Application, settings: Settings, count: Callable[[], None]) -> None:
        """`count` is called whenever the listener fails; it starts again."""
        self._application = application
        self._settings = settings
        self._count = count
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Begin to listen; the application is told by ASGI's lifespan messages."""
        self._serving = supervise(self._serve, "admin", self._count)

    async def stop(self) -> None:
        """Last of all, so that the drain can be watched."""
        self._stopping = True
        if self._server and self._serving:
            self._server.stop()  # type: ignore[no-untyped-call] # Granian has no types here
            await asyncio.wait([self._serving], timeout=STOP_SECONDS)
            await end([self._serving])

    async def _serve(self) -> None:
        self._server = _server(self._application, self._settings)
        await self._server.serve()
        if not self._stopping:
            raise RuntimeError("The listener of the admin address ended by itself.")


def _server(application: Application, settings: Settings) -> Server:
    return Server(
        application,
        address=literal("INGEST_ADMIN_HOST", settings.admin_host),
        port=settings.admin_port,
        interface=Interfaces.ASGI,
        websockets=False,
        backpressure=CONNECTIONS_MAX,
        http1_settings=HTTP1Settings(header_read_timeout=HEAD_SECONDS * 1000),
        log_level=LogLevels.error,  # it would tell of its own start and stop beside the worker's
        log_dictconfig=log_config(settings.log_level),
    )

"""Workers with a direct listener. Granian starts, replaces and reloads them, and has no part in their requests."""

import asyncio
import logging.config
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

import uvloop

from ingest.http.direct.limits import BACKLOG
from ingest.server.application import IngestApplication
from ingest.server.listeners.supervisor import Supervisor


def listen(address: str, port: int) -> socket.socket:
    """Return the socket from which all workers accept. Connections wait in it while workers are replaced."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address, port))
    listening.listen(BACKLOG)
    return listening


class DirectServer(Supervisor):
    """Granian's supervisor, for workers that accept connections themselves."""

    def __init__(self, listening: socket.socket, target: str, **options: Any) -> None:
        super().__init__(target, **options)
        self._listening = listening

    def _init_shared_socket(self) -> None:
        self._sso = self._listening  # Granian passes it to each worker, as an argument of the process

    def _drop_shared_socket(self) -> None:
        """Keep the socket open: the service may start its workers again (`ingest.server.granian`)."""

    def serve(self, *_: object) -> None:
        super().serve(spawn_target=run_worker)


def run_worker(
    _worker_id: int,
    _process_name: str | None,
    load: Callable[[], IngestApplication],
    sockets: tuple[object, socket.socket],
    _ipc: object,
    _loop: object,
    _log_enabled: bool,
    _log_level: object,
    log_config: Mapping[str, Any],
    *_: object,
) -> None:
    """Run one worker until SIGINT. The arguments are those of Granian's own workers."""
    logging.config.dictConfig(dict(log_config))
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    application = load()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    application.__rsgi_init__(loop)
    application.listen(sockets[1], loop)
    loop.run_until_complete(stop.wait())
    application.__rsgi_del__(loop)

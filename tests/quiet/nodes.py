"""Nodes of the service, and the operations on one of them."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

from tests.running import ServiceProcess
from tests.services import wait_until

SECONDS = 60.0


class LogReader:
    """Reads what a node has logged since the last time."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self._read = 0

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the new lines. One that is no JSON, such as a traceback, has no level and so is never calm."""
        lines = self._service.log().splitlines()
        new, self._read = lines[self._read :], len(lines)
        for line in new:
            try:
                yield json.loads(line)
            except ValueError:
                yield {"level": "", "message": line}


def reload(service: ServiceProcess) -> None:
    """Replace all workers by SIGHUP."""
    before = set(service.worker_pids())
    os.kill(service.pid, signal.SIGHUP)
    wait_for_others(service, before)


def wait_for_others(service: ServiceProcess, before: set[int]) -> None:
    """Wait until these workers have ended, and others serve."""
    workers = int(service.environment["INGEST_WORKERS"])

    def replaced() -> bool:
        now = set(service.worker_pids())
        return not before & now and len(now) == workers

    assert wait_until(replaced, SECONDS), service.log()
    service.wait_for_status("ready")


def restart(service: ServiceProcess, **settings: str) -> None:
    """Stop the service, and start it again with these settings changed."""
    assert service.stop() == 0
    service.environment |= {f"INGEST_{name}": value for name, value in settings.items()}
    service.start()
    service.wait_for_status("ready")

"""Granian's supervisor, which says of no ended worker that it refused to stop."""

from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from granian.server.mp import MPServer, WorkerProcess


class Supervisor(MPServer):
    def _spawn_worker(self, *args: Any, **options: Any) -> WorkerProcess:
        worker: WorkerProcess = super()._spawn_worker(*args, **options)
        worker.is_alive = partial(is_running, worker.inner)  # type: ignore[method-assign]
        return worker


def is_running(process: BaseProcess) -> bool:
    """Return False as soon as the process has ended.

    Granian waits for the end in two threads. `Process.is_alive` may still say True while the other thread takes note of
    the end. Granian would then warn that the worker refused to stop, and would kill its process id.
    """
    return process.is_alive() and not wait([process.sentinel], 0)

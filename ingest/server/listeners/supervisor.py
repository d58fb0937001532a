"""Granian's supervisor in one thread, which waits for the workers and does other work of the supervisor meanwhile.

Each worker is a fork of the supervisor, and a fork has only the thread that forked. If another thread holds a lock at
that moment, the lock stays locked in the worker, which may wait for it for ever. So there is no other thread. Granian's
own supervisor has a thread for each worker, and forks the next worker beside it.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from granian.server.mp import MPServer, WorkerProcess

LOOK_SECONDS = 0.5
"""Interval of the other work, unless Granian sleeps between two starts of workers."""


def nothing() -> None:
    """No work."""


class Interrupt:
    """Granian's `main_loop_interrupt`, a `threading.Event` with work to do while Granian waits for it."""

    def __init__(self, wait_and_work: Callable[[Connection], None]) -> None:
        """`wait_and_work` returns after `LOOK_SECONDS`, or as soon as the connection is readable."""
        self._wait_and_work = wait_and_work
        self._is_set = False
        self._reader, self._writer = Pipe(duplex=False)

    def set(self) -> None:
        """End the wait at once. A signal handler may call this."""
        if not self._is_set:
            self._is_set = True
            self._writer.send_bytes(b"set")

    def clear(self) -> None:
        self._is_set = False
        while self._reader.poll():  # else the next wait would never rest
            self._reader.recv_bytes()

    def wait(self) -> None:
        while not self._is_set:
            self._wait_and_work(self._reader)


class Supervisor(MPServer):
    def __init__(self, target: str, *, work: Callable[[], None] = nothing, **options: Any) -> None:
        """`work` is called at least every `LOOK_SECONDS`. It must return soon, and must not raise."""
        super().__init__(target, **options)
        self._work = work
        self.main_loop_interrupt = Interrupt(self._wait_and_work)  # type: ignore[assignment]  # it has no subclass

    def births(self) -> Mapping[int, float]:
        """Return the live workers: process id → monotonic time at which it was started."""
        return {worker.inner.pid: worker.birth for worker in self.wrks if worker.inner.is_alive()}

    def _spawn_worker(self, *args: Any, **options: Any) -> WorkerProcess:
        worker: WorkerProcess = super()._spawn_worker(*args, **options)
        worker._watch = nothing  # type: ignore[method-assign]  # this would start a thread
        worker.join = partial(self._join, worker.inner)  # type: ignore[method-assign]
        return worker

    def _wait_and_work(self, interrupt: Connection) -> None:
        wait([interrupt, *(worker.inner.sentinel for worker in self.wrks)], LOOK_SECONDS)
        self._work()
        for worker in self.wrks:
            if worker.idx not in self.interrupt_children and not worker.inner.is_alive():
                worker._watcher()  # type: ignore[no-untyped-call]  # logs the end, and sets the interrupt

    def _join(self, process: BaseProcess, timeout: float | None = None) -> None:
        """Wait for a worker's end. The watchdog must see a worker that hangs meanwhile."""
        end = inf if timeout is None else time.monotonic() + timeout
        while process.is_alive() and (left := end - time.monotonic()) > 0:
            wait([process.sentinel], min(left, LOOK_SECONDS))
            self._work()

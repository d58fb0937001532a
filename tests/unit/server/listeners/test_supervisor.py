"""The supervisor waits for its workers in its own thread, and does its other work meanwhile."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import pytest
from granian.constants import Interfaces
from granian.server.mp import WorkerProcess

from ingest.server.listeners.supervisor import Interrupt, Supervisor
from tests.services import wait_until

SECONDS = 60.0


class Supervised:
    """A supervisor with a real process as its worker, and the work that it has done."""

    def __init__(self) -> None:
        self.process = multiprocessing.get_context("spawn").Process(target=signal.pause)
        self.process.start()
        self.worked = 0
        self.supervisor = Supervisor("no:application", work=self._work, interface=Interfaces.RSGI)
        self.then: Callable[[], None] = lambda: None
        """An action during the work."""
        worker = WorkerProcess(self.supervisor, 0, signal.pause, ())  # type: ignore[no-untyped-call]  # Granian has none
        worker.inner = self.process
        self.supervisor.wrks.append(worker)

    def _work(self) -> None:
        self.worked += 1
        self.then()

    def kill(self) -> None:
        assert self.process.pid
        os.kill(self.process.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait as Granian does."""
        self.supervisor.main_loop_interrupt.wait()


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    made = Supervised()
    yield made
    made.process.kill()
    made.process.join()


def test_death_of_a_worker_is_noticed_without_another_thread(supervised: Supervised) -> None:
    threads = threading.active_count()
    assert list(supervised.supervisor.births()) == [supervised.process.pid]
    supervised.then = supervised.kill

    supervised.wait()

    assert supervised.supervisor.interrupt_children == [0]
    assert not supervised.supervisor.births()
    assert threading.active_count() == threads


def test_supervisor_works_until_a_signal_handler_ends_the_wait(supervised: Supervised) -> None:
    def stop_at_the_third_time() -> None:
        if supervised.worked == 3:
            supervised.supervisor.signal_handler_interrupt()  # type: ignore[no-untyped-call]  # Granian has none

    supervised.then = stop_at_the_third_time

    supervised.wait()
    supervised.wait()  # it is still set

    assert supervised.worked == 3
    assert not supervised.supervisor.interrupt_children


def test_signal_that_was_cleared_wakes_no_later_wait() -> None:
    woken = []

    def look(reader: Connection) -> None:
        woken.append(reader.poll())
        interrupt.set()

    interrupt = Interrupt(look)
    interrupt.set()
    interrupt.clear()

    interrupt.wait()

    assert woken == [False]


def test_supervisor_works_while_it_waits_for_a_worker_to_end(supervised: Supervised) -> None:
    supervised.supervisor._join(supervised.process, 0.001)
    assert supervised.process.is_alive()
    assert supervised.worked
    supervised.then = supervised.kill

    supervised.supervisor._join(supervised.process)

    assert wait_until(lambda: not supervised.process.is_alive(), SECONDS)

"""A worker has ended as soon as its process has, whichever thread takes note of it first."""

import multiprocessing
import os
import signal

from ingest.server.listeners.supervisor import is_running
from tests.services import wait_until

SECONDS = 20.0


def test_process_that_another_thread_has_waited_for_is_not_running() -> None:
    process = multiprocessing.get_context("spawn").Process(target=signal.pause)
    process.start()
    assert process.pid
    assert is_running(process)

    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)  # as the other thread does, before it tells `process`

    assert process.is_alive()
    assert wait_until(lambda: not is_running(process), SECONDS)

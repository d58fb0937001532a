"""A worker obeys SIGTERM from its start: a signal that it could lose is blocked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

FORKED = """
import os, signal
from ingest.server.signals import obey_in_forked

# A signal before the child removes the supervisor's handlers, as if the supervisor were faster than the child.
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIG{name}))
obey_in_forked()
signal.signal(signal.SIG{name}, lambda *_: None)
if not (child := os.fork()):
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
CREATED = """
import asyncio, os, signal
from ingest.server.app import create
from ingest.server.draining import Sigterm

signal.signal(signal.SIGTERM, lambda *_: None)  # like Granian's handler, which uvloop ignores before it runs
application = create()
os.kill(os.getpid(), signal.SIGTERM)
try:
    application.__rsgi_init__(asyncio.new_event_loop())
except SystemExit:
    print("stopped")
"""


def run(program: str, folder: Path) -> str:
    environment = {**os.environ, "INGEST_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=folder
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_forked_process_obeys_a_signal_before_its_start(tmp_path: Path, name: str) -> None:
    assert run(FORKED.replace("{name}", name), tmp_path) == f"{-signal.Signals['SIG' + name]} set()"


def test_worker_obeys_a_signal_before_it_has_its_own_handler(tmp_path: Path) -> None:
    assert run(CREATED, tmp_path).endswith("stopped")

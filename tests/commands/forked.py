"""Runs commands of `ingest` and modules of the tests through a fork server, one for each process of the tests."""

import atexit
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from tests.commands.fork_server import Request
from tests.paths import ROOT

OF_COMMANDS = ("INGEST_", "CALL_EVENTS_", "PYTEST_")
"""All other variables may be read when a process starts, by Python, its libraries or the loader."""
UMASK = re.compile(r"^Umask:\s+(\d+)$", re.MULTILINE)
STOP_SECONDS = 60.0
NUMBER_BYTES_MAX = 16


class Forked:
    """A command that the server has forked, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, argv: Sequence[str], reply: socket.socket) -> None:
        self._argv = argv
        self._reply = reply
        self.pid = int(reply.recv(NUMBER_BYTES_MAX))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or the negative number of a signal; None if the command still runs."""
        return self._ended(0)

    def wait(self, timeout: float) -> int:
        """Return the exit code. Raises `subprocess.TimeoutExpired`."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self._argv, timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill the command, if it still runs. This also happens when the object goes away."""
        self._reply.close()

    def _ended(self, seconds: float) -> int | None:
        if self.returncode is None and select.select([self._reply], [], [], seconds)[0]:
            self.returncode = int(self._reply.recv(NUMBER_BYTES_MAX))
            self._reply.close()
        return self.returncode


Process = Forked | subprocess.Popen[bytes]


def start_module(
    module: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    streams: Sequence[IO[bytes]],
    folder: Path | None = None,
) -> Process:
    """Start `python -m module` with these words, this environment, and these files as its standard streams.

    A variable that may have an effect when Python starts makes Python start anew, without the server.
    """
    argv = [sys.executable, "-m", module, *words]
    given, out, err = streams
    if _read_at_start(environment) != _server().environment:
        return subprocess.Popen(argv, cwd=folder, env=environment, stdin=given, stdout=out, stderr=err)
    request = Request(module, list(words), dict(environment), str(folder or Path.cwd()), _umask())
    reply, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with other:
        descriptors = [*(stream.fileno() for stream in streams), other.fileno()]
        socket.send_fds(_server().control, [msgspec.json.encode(request)], descriptors)
    return Forked(argv, reply)


def start_ingest(
    words: Sequence[str], environment: Mapping[str, str], streams: Sequence[IO[bytes]], folder: Path | None = None
) -> Process:
    """Start `python -m ingest`; see `start_module`."""
    return start_module("ingest", words, environment, streams, folder)


def run_module(
    module: str,
    words: Sequence[str],
    environment: Mapping[str, str] = os.environ,
    *,
    folder: Path | None = None,
    typed: str = "",
    seconds: float = 60.0,
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m module` with these words and this environment. Raises `subprocess.TimeoutExpired`."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(typed.encode())
        given.seek(0)
        process = start_module(module, words, environment, [given, out, err], folder)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired as exc:
            process.kill()
            process.wait(STOP_SECONDS)
            raise subprocess.TimeoutExpired(exc.cmd, seconds, _text(out), _text(err)) from None
        return subprocess.CompletedProcess([module, *words], code, _text(out), _text(err))


def run_ingest(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: Path | None = None,
    typed: str = "",
    seconds: float = 60.0,
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m ingest`; see `run_module`."""
    return run_module("ingest", words, environment, folder=folder, typed=typed, seconds=seconds)


class Server(NamedTuple):
    control: socket.socket
    environment: Mapping[str, str]
    """Variables that the server read when it started."""


@cache
def _server() -> Server:
    """Start the server. It ends when this process does, as its socket is closed then."""
    control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = _read_at_start(os.environ)
    with other:
        code = f"from tests.commands import fork_server; fork_server.main({other.fileno()})"
        argv = [sys.executable, "-c", code]
        process = subprocess.Popen(argv, cwd=ROOT, env=environment, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL)
    atexit.register(process.wait, STOP_SECONDS)
    atexit.register(control.close)
    return Server(control, environment)


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(OF_COMMANDS)}


def _umask() -> int:
    found = UMASK.search(Path("/proc/self/status").read_text())
    assert found
    return int(found[1], 8)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()

"""Runs commands of `ingest` through a fork server, one for each process of the tests."""

import atexit
import os
import re
import select
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
STOP_SECONDS = 10.0


def run_ingest(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: Path | None = None,
    typed: str = "",
    seconds: float = 60.0,
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m ingest` with these words and this environment. Raises `subprocess.TimeoutExpired`."""
    argv = [sys.executable, "-m", "ingest", *words]
    if _read_at_start(environment) != _server().environment:
        return subprocess.run(
            argv, cwd=folder, env=environment, check=False, input=typed, capture_output=True, text=True, timeout=seconds
        )
    request = Request(list(words), dict(environment), str(folder or Path.cwd()), _umask())
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(typed.encode())
        given.seek(0)
        code = _exit_code(request, [given, out, err], seconds)
        if code is None:
            raise subprocess.TimeoutExpired(argv, seconds, _text(out), _text(err))
        return subprocess.CompletedProcess(argv, code, _text(out), _text(err))


def _exit_code(request: Request, streams: Sequence[IO[bytes]], seconds: float) -> int | None:
    """Return the code, or None if the command did not end in time. The server kills it when the socket closes."""
    reply, other = socket.socketpair()
    with reply:
        with other:
            descriptors = [*(stream.fileno() for stream in streams), other.fileno()]
            socket.send_fds(_server().control, [msgspec.json.encode(request)], descriptors)
        ready, _, _ = select.select([reply], [], [], seconds)
        return int(reply.recv(16)) if ready else None


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

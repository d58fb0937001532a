"""Runs each command of `ingest` in a process of its own, forked from one that has already imported the libraries.

Most of a short command's CPU time goes to these imports. Modules of `ingest` are imported in the command's process.
"""

import atexit
import gc
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from runpy import run_module
from typing import NamedTuple, NoReturn

import msgspec

LIBRARIES = (
    *("asyncio", "logging.config", "http.client", "sqlite3", "ssl", "zoneinfo"),
    *("click", "msgspec", "prometheus_client", "pythonjsonlogger.json", "cryptography.hazmat.primitives.hashes"),
    *("asyncmy", "aio_pika", "rstream", "granian.server", "blacksheep", "uvloop", "httptools", "zstandard"),
)
"""They start no thread when they are imported, so that a fork is safe."""
REQUEST_BYTES_MAX = 256 * 1024
DESCRIPTORS_MAX = 1024


class Request(msgspec.Struct):
    """A command. With it come its standard streams, and the socket for its exit code."""

    words: list[str]
    environment: dict[str, str]
    folder: str
    umask: int


class Command(NamedTuple):
    pid: int
    reply: socket.socket

    def report(self) -> None:
        """Send the exit code."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with self.reply, suppress(OSError):  # nobody waits any more
            self.reply.send(str(code).encode())


def main(control: int) -> NoReturn:
    """Run the commands that arrive at this socket, until its other end is closed."""
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()  # a collection in a command would copy all these objects
    requests = socket.socket(fileno=control)
    commands: dict[int, Command] = {}
    while True:
        replies = [command.reply.fileno() for command in commands.values()]
        ready, _, _ = select.select([control, *commands, *replies], [], [])
        for ended in commands.keys() & ready:
            commands.pop(ended).report()
            os.close(ended)
        for command in commands.values():
            if command.reply.fileno() in ready:  # nobody waits for it any more
                os.kill(command.pid, signal.SIGKILL)
        if control in ready:
            message, streams, _, _ = socket.recv_fds(requests, REQUEST_BYTES_MAX, 4)
            if not message:  # the tests have ended
                _end(command.pid for command in commands.values())
            started = _start(message, streams)
            commands[os.pidfd_open(started.pid)] = started


def _end(running: Iterable[int]) -> NoReturn:
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _start(message: bytes, streams: list[int]) -> Command:
    *standard, reply = streams
    pid = os.fork()
    if pid == 0:
        _become(msgspec.json.decode(message, type=Request), standard)
        _run()
    for stream in standard:
        os.close(stream)
    return Command(pid, socket.socket(fileno=reply))


def _become(request: Request, standard: list[int]) -> None:
    """Turn this process into a new one, as far as a command can see."""
    for number, stream in enumerate(standard):
        os.dup2(stream, number)
    os.closerange(3, DESCRIPTORS_MAX)
    os.umask(request.umask)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.path[0] = request.folder
    sys.argv[1:] = request.words


def _run() -> NoReturn:
    """Run the command, and end the process without freeing its memory: that takes longer than the command."""
    code: object = 0
    try:
        run_module("ingest", run_name="__main__", alter_sys=True)
    except SystemExit as exc:
        code = exc.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads, as at the end of each interpreter
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)

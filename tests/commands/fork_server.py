"""Runs modules, as `python -m` does, in processes forked from one that has already imported what `ingest` needs.

Most of the CPU time of a short command, and of the service's start, goes to these imports.
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

MODULES = (
    *("asyncio", "logging.config", "http.client", "sqlite3", "ssl", "zoneinfo"),
    *("click", "msgspec", "prometheus_client", "cryptography.hazmat.primitives.hashes"),
    *("asyncmy", "aio_pika", "rstream", "granian.server", "blacksheep", "uvloop", "httptools", "zstandard"),
    *("ingest.cli.main", "ingest.cli.serve", "ingest.server.app", "ingest.server.factories.mysql"),
    *("ingest.broker.amqp.publisher", "ingest.broker.stream.publisher"),
    *("pytest", "pymysql", "pika"),  # for modules of the tests
)
"""They start no thread when they are imported, so that a fork is safe."""
REQUEST_BYTES_MAX = 256 * 1024
DESCRIPTORS_MAX = 1024


class Request(msgspec.Struct):
    """A command. With it come its standard streams, and a socket for its process id and its exit code."""

    module: str
    words: list[str]
    environment: dict[str, str]
    folder: str
    umask: int


class Command(NamedTuple):
    """A command whose caller keeps the socket open until it has the exit code, or does not want it any more.

    The process id stays taken until then, as that of any process for which its parent has not waited.
    """

    pid: int
    reply: socket.socket

    def report(self, descriptor: int) -> None:
        """Send the exit code of the process with this descriptor, unless nobody waits for it any more."""
        with suppress(ChildProcessError):
            ended = os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT)
            assert ended
            self.tell(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)

    def tell(self, number: int) -> None:
        with suppress(OSError):  # the caller has closed its end
            self.reply.send(str(number).encode())

    def forget(self) -> None:
        """Kill the command if it still runs."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.reply.close()


def main(control: int) -> NoReturn:
    """Run the commands that arrive at this socket, until its other end is closed."""
    for module in MODULES:
        import_module(module)
    gc.freeze()  # a collection in a command would copy all these objects
    requests = socket.socket(fileno=control)
    running: dict[int, Command] = {}  # by a descriptor that is readable once the process has ended
    known: dict[int, Command] = {}  # by the descriptor of the socket
    while True:
        ready, _, _ = select.select([control, *running, *known], [], [])
        for ended in running.keys() & ready:
            running.pop(ended).report(ended)
            os.close(ended)
        for closed in known.keys() & ready:
            known.pop(closed).forget()
        if control in ready:
            message, streams, _, _ = socket.recv_fds(requests, REQUEST_BYTES_MAX, 4)
            if not message:  # the tests have ended
                _end(known.values())
            started = _start(message, streams)
            running[os.pidfd_open(started.pid)] = known[started.reply.fileno()] = started


def _end(commands: Iterable[Command]) -> NoReturn:
    for command in commands:
        command.forget()
    os._exit(0)


def _start(message: bytes, streams: list[int]) -> Command:
    *standard, reply = streams
    pid = os.fork()
    if pid == 0:
        request = msgspec.json.decode(message, type=Request)
        _become(request, standard)
        _run(request.module)
    for stream in standard:
        os.close(stream)
    command = Command(pid, socket.socket(fileno=reply))
    command.tell(pid)
    return command


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


def _run(module: str) -> NoReturn:
    """Run the module, and end the process without freeing its memory: that takes longer than the command."""
    code: object = 0
    try:
        run_module(module, run_name="__main__", alter_sys=True)
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

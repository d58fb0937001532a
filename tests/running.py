"""Runs the real service in its own process, as users do: `ingest serve` with settings in the environment."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.commands.forked import Process, run_ingest, start_ingest
from tests.commands.tables import make_tables
from tests.paths import ROOT
from tests.services import free_port, wait_until
from tests.services.processes import has_ended

TOKEN = "a-token-of-the-tests"
WORKER = re.compile(rb"serve|spawn_main")
"""In the command line of a forked or spawned worker."""
PACKAGES = os.pathsep.join([str(ROOT), *filter(re.compile("site-packages$").search, sys.path)])
"""The path on which another Python finds the service and its packages."""
START_SECONDS = 120
"""Patience with a busy machine; a service is ready after one or two seconds."""
STOP_SECONDS = 120
ANSWER_SECONDS = 30
EVENT = {
    "call_id": "a84b4c76e66710@pbx.example.com",
    "from_number": "+15551230001",
    "to_number": "+15551230002",
    "event_type": "call_started",
    "timestamp": "2025-01-31T13:45:00Z",
}


class ServiceProcess:
    """`with ServiceProcess(folder, {...}) as service:` serves on a free port until the block ends.

    `settings` are environment variables without their prefix INGEST_. Output and log go to two files. `tree` is a
    checkout whose service and migrations are used, in place of the installed ones. `module` is a Python module that
    serves in place of `ingest`. The service runs as `user`; commands run as the user of the tests. `python` is another
    Python that has the service's packages. `anew` starts Python anew; else the service is forked from a process that
    has imported its modules, in less than half of the CPU time.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        tree: Path | None = None,
        module: str = "ingest",
        user: int | None = None,
        python: Path | None = None,
        anew: bool = False,
    ) -> None:
        self._module = module
        self._user = user
        self.python = str(python or (sys.executable if user is None else python_of(user)))
        usual = tree is None and user is None and module == "ingest" and python is None
        self._forked = usual and not anew
        self._tree = tree  # the working directory, which `python -m` searches first
        self.port = int((settings or {}).get("PORT") or free_port())
        self._log = folder / "service.log"
        self._output = folder / "service.out"
        self._process: Process | None = None
        defaults = {
            "DATABASE_URL": f"sqlite:///{folder / 'events.db'}",
            "DATA_DIR": str(folder / "var"),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "API_TOKENS": TOKEN,
        }
        if tree is None:
            defaults["DRAIN_DELAY_SECONDS"] = "0"  # some older trees do not have this setting
        if tree is None and "INGEST_TEST_LISTENER" in os.environ:
            defaults["LISTENER"] = os.environ["INGEST_TEST_LISTENER"]
        values = {**defaults, **(settings or {})}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
        self.environment = inherited | {f"INGEST_{name}": value for name, value in values.items()}
        if user is not None:
            self.environment["PYTHONPATH"] = PACKAGES

    def __enter__(self) -> Self:
        self._prepare()
        self.start()
        try:
            self.wait_for_status("ready", "degraded")
        except BaseException:
            self.kill()  # `__exit__` is not called; a service left running would slow down all other tests
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        """Create the tables. A process of its own for that would cost as much CPU time as the service's start."""
        of_this_tree = self._tree is None and self._user is None and self._module == "ingest"
        if not (of_this_tree and make_tables(self.environment)):
            self.command("migrate", check=False)

    def start(self) -> None:
        """Start to serve; see `wait_for_status`."""
        with self._log.open("ab") as log, self._output.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            if self._forked:
                self._process = start_ingest(["serve"], self.environment, [nothing, output, log])
                return
            self._process = subprocess.Popen(
                [self.python, "-m", self._module, "serve"],
                cwd=self._tree,
                env=self.environment,
                stdin=nothing,
                stdout=output,
                stderr=log,
                **as_user(self._user),
            )

    def stop(self) -> int | None:
        """Send SIGTERM, as compose and systemd do. Return the exit status, or None if it was not running."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill(process)
            raise AssertionError(f"the service did not stop within {STOP_SECONDS} s:\n{self.log()}") from None

    def kill(self) -> None:
        """Kill (-9) the supervisor and all workers, and wait for their ends."""
        process, self._process = self._process, None
        if process is not None:
            self._kill(process)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor and all workers."""
        assert self._process is not None
        for pid in [self._process.pid, *_children(self._process.pid)]:
            os.kill(pid, number)

    def command(self, *words: str, check: bool = True, seconds: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Run another command of `ingest` with the same settings."""
        if self._tree is None and self.python == sys.executable:
            done = run_ingest(words, self.environment, seconds=seconds)
            if check:
                done.check_returncode()
            return done
        argv = [self.python, "-m", "ingest", *words]
        return subprocess.run(
            argv, cwd=self._tree, env=self.environment, check=check, capture_output=True, text=True, timeout=seconds
        )

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        assert self._process is not None
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """Return the process ids of the live workers."""
        assert self._process is not None
        return [pid for pid in _children(self._process.pid) if WORKER.search(_command_line(pid))]

    def wait_for_status(self, *statuses: str, seconds: float = START_SECONDS) -> None:
        if not wait_until(lambda: self.status() in statuses, seconds):
            raise AssertionError(f"status is {self.status()}, not {statuses}:\n{self.log()}")

    def status(self) -> str | None:
        """Return the status in `/readyz`; None if the service does not answer."""
        try:
            return str(json.loads(self.request("GET", "/readyz")[1])["status"])
        except (OSError, ValueError, KeyError):
            return None

    def post(
        self, event: Mapping[str, Any] | bytes, path: str = "/api/call-events", **headers: str
    ) -> tuple[int, bytes]:
        """Send one POST with the token of the tests. Return the answer's status and body."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        status, answer, _ = self.request("POST", path, body, {"X-API-TOKEN": TOKEN, **headers})
        return status, answer

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Send one request on a new connection. Return status, body and headers (names in lower case)."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read(), {k.lower(): v for k, v in response.getheaders()}

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def output(self) -> str:
        """Return what the service printed on standard output."""
        return self._output.read_text() if self._output.exists() else ""

    def log_lines(self) -> Iterator[dict[str, Any]]:
        for line in self.log().splitlines():
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    def _kill(self, process: Process) -> None:
        pids = [process.pid, *_children(process.pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)
        assert wait_until(lambda: all(map(has_ended, pids)), STOP_SECONDS), f"processes outlive kill -9: {pids}"


def as_user(user: int | None) -> dict[str, Any]:
    """Return `subprocess` options that run a program as this user, without groups; empty if `user` is None."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


@cache
def python_of(user: int) -> str:
    """Return a Python of this version that the user can run. Other users may have no access to the tests' Python."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        with contextlib.suppress(OSError):
            environment = {"PYTHONPATH": PACKAGES}
            subprocess.run([python, "-c", "import ingest.server.granian"], check=True, env=environment, **as_user(user))
            return python
    raise AssertionError(f"user {user} cannot run any {name}")


def _children(pid: int) -> list[int]:
    """Return the process ids of all descendants, from /proc."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        direct = [int(child) for child in path.read_text().split()]
    except OSError:
        return []
    return [descendant for child in direct for descendant in [child, *_children(child)]]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""

"""Base classes of all test servers."""

import signal
import subprocess
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from .places import Place
from .processes import process_state
from .sandbox import Sandbox, ServerFailed, log_tail, wait_until

START_SECONDS = 180.0
STOP_SECONDS = 60.0


class Server(ABC):
    """A server for tests. Its `with` block starts it, and closes it at the end."""

    controllable: bool
    """True if stop, kill, freeze, thaw and restart work; False for an external server."""

    @abstractmethod
    def start(self) -> None:
        """Start, and return when the server answers. Raises ServerFailed."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the server, and wait for its end. Kill it if that takes longer than 30 s."""

    @abstractmethod
    def kill(self) -> None:
        """Kill (-9) the server, and wait for its end."""

    @abstractmethod
    def freeze(self) -> None:
        """Send SIGSTOP: connections stay open, and the server does not answer."""

    @abstractmethod
    def thaw(self) -> None:
        """Send SIGCONT."""

    @abstractmethod
    def close(self) -> None:
        """End the server, and remove its files. May be called twice."""

    def restart(self) -> None:
        """Stop, and start again with the same ports and data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ExternalServer(Server):
    """A server given by its URL. Tests may use it, but not control it."""

    controllable = False

    def start(self) -> None:
        """Do nothing, as the server runs already."""

    def close(self) -> None:
        """Do nothing by default."""

    def stop(self) -> None:
        self._refuse()

    def kill(self) -> None:
        self._refuse()

    def freeze(self) -> None:
        self._refuse()

    def thaw(self) -> None:
        self._refuse()

    def _refuse(self) -> None:
        raise ServerFailed("this server was given by its URL; the tests do not control it")


class PrivateServer(Server):
    """A process in its own sandbox, with its log in `server.log`."""

    controllable = True

    def __init__(self, name: str, place: Place) -> None:
        self.sandbox = Sandbox(name)
        self.log = self.sandbox.path / "server.log"
        self._name = name
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared = False

    @abstractmethod
    def _prepare(self) -> None:
        """Create data and configuration. Called once, before the first launch."""

    @abstractmethod
    def _launch(self) -> subprocess.Popen[bytes]:
        """Start the server, and return its own process, not a wrapper's."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return True if the server speaks its protocol. Must not block for long."""

    def _started(self) -> None:
        """Called after each start, when the server answers."""

    @property
    def pid(self) -> int:
        """Process id of the running server. Raises ServerFailed if it is down."""
        if self._process is None:
            raise ServerFailed(f"{self._name} is not running")
        return self._process.pid

    def start(self) -> None:
        if self._process is not None:
            raise ServerFailed(f"{self._name} runs already")
        if not self._prepared:
            self._prepare()
            self._prepared = True
        process = self._process = self._launch()
        answered = wait_until(lambda: process.poll() is not None or self._answers(), START_SECONDS)
        if not answered or process.poll() is not None:
            self.kill()
            raise ServerFailed(f"{self._name} did not start\n{log_tail(self.log)}")
        self._started()

    def stop(self) -> None:
        process = self._running()
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def freeze(self) -> None:
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        if not wait_until(lambda: process_state(process.pid) == "T", STOP_SECONDS):
            raise ServerFailed(f"{self._name} does not stop on SIGSTOP")

    def thaw(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None:
            self.kill()
        self.sandbox.close()

    def inside(self, name: str) -> str:
        """Return the path of a file of the sandbox, as the server sees it."""
        return self._place.inside(self.sandbox.path / name, self.sandbox.path)

    def _argv(self, *command: str) -> list[str]:
        return self._place.argv(command, self.sandbox.path)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailed(f"{self._name} is not running")
        return self._process

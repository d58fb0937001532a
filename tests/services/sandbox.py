"""A temporary folder with processes. Both end with the test process."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .processes import MARK, marked_with

POLL_SECONDS = 0.02
POLL_SECONDS_MAX = 0.2
PAUSE = 2
"""The pause between two looks, by the time of a look: conditions that ask a server take at most a third of a core."""
LOG_TAIL_LINES = 40
GONE_SECONDS = 60

# The guard leads the process group of the sandbox. It reads a pipe that only the test
# process holds open. The pipe ends when that process ends, even by kill -9. Then a shell
# in a separate session kills the group and removes the folder. It tries again if a dying
# server writes files at the same time.
_GUARD = """
trap '' INT TERM HUP
cat >/dev/null
exec setsid sh -c '
    kill -s KILL -- "-$1"
    for attempt in 1 2 3 4 5; do
        rm -rf -- "$2" && exit
        sleep 0.2
    done' guard $$ "$1"
"""


class ServerFailed(Exception):
    """A test server did not start, stop or answer. The text ends with the tail of its log."""


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll `condition` until it is true, and return True; return False after `seconds`."""
    began = time.monotonic()
    deadline = began + seconds
    while not condition():
        ended = time.monotonic()
        if ended > deadline:
            return False
        time.sleep(min(max(POLL_SECONDS, PAUSE * (ended - began)), POLL_SECONDS_MAX))
        began = time.monotonic()
    return True


def log_tail(log: Path) -> str:
    """Return the last lines of a log file; "" if there is no file."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


class Sandbox:
    """One temporary folder (in $TMPDIR, else /tmp) and one process group.

    `close()` kills all processes and removes the folder. If the owner dies without closing,
    the guard does both, except for processes that left the group. With RabbitMQ these are
    Erlang's helpers, which end when Erlang ends.
    """

    def __init__(self, name: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"call-events-{name}-"))
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._marked(None),
            process_group=0,
        )
        self._children: list[subprocess.Popen[bytes]] = []

    @property
    def group(self) -> int:
        """The group id of the sandbox's processes."""
        return self._guard.pid

    def folder(self, name: str) -> Path:
        """Return a sub-folder; create it if it does not exist."""
        path = self.path / name
        path.mkdir(exist_ok=True)
        return path

    def spawn(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a process in the group, and append its output to `log`.

        `env` is the whole environment (default: that of this process). Raises ServerFailed
        if the program does not exist.
        """
        try:
            with log.open("ab") as output:
                child = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._marked(env),
                    cwd=self.path,
                    process_group=self.group,
                )
        except FileNotFoundError as exc:
            raise ServerFailed(f"{argv[0]} is not installed: {exc}") from exc
        self._children.append(child)
        return child

    def run(
        self,
        argv: Sequence[str],
        seconds: float,
        env: Mapping[str, str] | None = None,
        typed: str = "",
    ) -> str:
        """Run a command in the group to its end with `typed` as its input, and return its standard output.

        Raises ServerFailed on a non-zero exit status, or if it takes longer than `seconds`.
        """
        try:
            done = subprocess.run(
                argv,
                check=False,
                input=typed,
                capture_output=True,
                text=True,
                env=self._marked(env),
                cwd=self.path,
                timeout=seconds,
                process_group=self.group,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise ServerFailed(f"{' '.join(argv)}: {exc}") from exc
        if done.returncode != 0:
            raise ServerFailed(f"{' '.join(argv)} exited with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _marked(self, env: Mapping[str, str] | None) -> dict[str, str]:
        return {**(os.environ if env is None else env), MARK: str(self.path)}

    def close(self) -> None:
        """Kill the remaining processes and remove the folder. May be called twice."""
        if self._guard.returncode is not None:
            return
        os.killpg(self.group, signal.SIGKILL)
        for child in [*self._children, self._guard]:
            child.wait()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        if not wait_until(self._killed_all, GONE_SECONDS):
            raise ServerFailed(f"processes outlive kill -9: {marked_with(self.path)}")
        shutil.rmtree(self.path)

    def _killed_all(self) -> bool:
        left = marked_with(self.path)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

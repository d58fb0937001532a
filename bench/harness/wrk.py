"""wrk as the generator of a closed loop: each connection sends its next event when the last one is answered."""

import json
import resource
import subprocess
from pathlib import Path

import msgspec

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT_SECONDS = 10
MARGIN_SECONDS = 30


class Load(msgspec.Struct, frozen=True):
    """How wrk goes about it: see the script."""

    connections: int
    seconds: int
    threads: int = 1
    one_shot: bool = False
    """A connection carries one request."""
    random_calls: bool = False
    """Call ids of no order, others in each run; else they count up, and each run sends the same."""
    pause_ms: int = 0
    """A connection's wait before its next request: that long on average."""
    batch_items: int = 0
    """Each request is a batch of so many events."""

    def words(self) -> list[str]:
        """The script's arguments after the token."""
        wanted = {"close": self.one_shot, "random": self.random_calls, f"pause={self.pause_ms}": self.pause_ms > 0}
        wanted[f"batch={self.batch_items}"] = self.batch_items > 0
        return [word for word, is_wanted in wanted.items() if is_wanted]


class Answers(msgspec.Struct, frozen=True):
    """What wrk saw. `not_2xx` and the sockets' errors are no events."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    not_2xx: int
    socket_errors: int
    cpu_seconds: float
    """wrk's own."""

    @property
    def failures(self) -> int:
        return self.not_2xx + self.socket_errors

    @property
    def events(self) -> int:
        return self.requests - self.not_2xx


def run(port: int, token: str, load: Load) -> Answers:
    """Load the service on `port` of this machine. Raises CalledProcessError."""
    command = ["wrk", f"-t{load.threads}", f"-c{load.connections}", f"-d{load.seconds}s", f"-T{TIMEOUT_SECONDS}s"]
    address = f"http://127.0.0.1:{port}/"
    before = _children_seconds()
    done = subprocess.run(
        [*command, "-s", str(SCRIPT), address, "--", token, *load.words()],
        check=True,
        capture_output=True,
        text=True,
        timeout=load.seconds + MARGIN_SECONDS,
    )
    return parse(done.stdout, _children_seconds() - before)


def parse(output: str, cpu_seconds: float) -> Answers:
    """Read the script's line, the last one. Raises ValueError if it is not there."""
    figures = json.loads(output.strip().rpartition("\n")[2])
    return Answers(
        requests=figures["requests"],
        seconds=figures["duration_us"] / 1e6,
        p50_ms=figures["p50_us"] / 1e3,
        p99_ms=figures["p99_us"] / 1e3,
        max_ms=figures["max_us"] / 1e3,
        not_2xx=figures["not_2xx"],
        socket_errors=sum(figures[kind] for kind in ("connect", "read", "write", "timeout")),
        cpu_seconds=cpu_seconds,
    )


def _children_seconds() -> float:
    """CPU time of the ended child processes: wrk's, as it is the only one that ends while it runs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

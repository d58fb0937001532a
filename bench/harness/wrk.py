"""wrk as the generator of a closed loop: each connection sends its next event after the answer to the last one."""

import json
import resource
import subprocess
from pathlib import Path

import msgspec

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT_SECONDS = 10
MARGIN_SECONDS = 30


class Load(msgspec.Struct, frozen=True):
    """wrk's options, and those of its script `post.lua`."""

    connections: int
    seconds: int
    threads: int = 1
    one_shot: bool = False
    """Each connection carries one request."""
    random_calls: bool = False
    """Random call ids, different in each run. Otherwise they count up, and every run sends the same ids."""
    pause_ms: int = 0
    """Average pause of a connection before its next request."""
    invalid: bool = False
    """The events have a timestamp that is none. The service answers 422."""
    own_ids: bool = False
    """Each request has an id of its own in its head. Otherwise all heads of the same length are the same."""
    mapped: bool = False
    """The requests go to `/in/kamailio`, whose form maps them."""
    batch_items: int = 0
    """Events in each request, which is then a batch; 0 for single events."""

    def words(self) -> list[str]:
        """Return the script's arguments after the token."""
        wanted = {"close": self.one_shot, "random": self.random_calls, "invalid": self.invalid}
        wanted |= {"ids": self.own_ids, "mapped": self.mapped}
        wanted[f"pause={self.pause_ms}"] = self.pause_ms > 0
        wanted[f"batch={self.batch_items}"] = self.batch_items > 0
        return [word for word, is_wanted in wanted.items() if is_wanted]


class Answers(msgspec.Struct, frozen=True):
    """wrk's counts. `not_2xx` and the socket errors are not in `events`."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    not_2xx: int
    socket_errors: int
    cpu_seconds: float
    """wrk's own CPU time."""

    @property
    def failures(self) -> int:
        return self.not_2xx + self.socket_errors

    @property
    def events(self) -> int:
        return self.requests - self.not_2xx


def run(port: int, token: str, load: Load) -> Answers:
    """Load the service on `port` of this machine. Raises CalledProcessError if wrk fails."""
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
    """Read the script's output, which is the last line. Raises ValueError if it is missing."""
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
    """Return the CPU time of ended child processes. While wrk runs, no other child process ends."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

"""The stamp of a result: commit, machine and versions, without which no figure can be compared."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from bench.harness.targets import Servers
from bench.paths import ROOT
from bench.report.interpreter import interpreter
from tests.services.rabbitmq import PrivateRabbitMQ

PACKAGES = ("granian", "uvloop", "msgspec", "asyncmy", "aio-pika", "aiormq", "rstream", "blacksheep", "locust")


class Stamp(msgspec.Struct, frozen=True):
    """`load_average` is the machine's load in the minute before, from other work."""

    commit: str
    taken_at: str
    machine: str
    load_average: float
    versions: dict[str, str]


def stamp(servers: Servers | None) -> Stamp:
    """Collect the stamp. If `servers` is None, the versions of the remote servers stay unknown.

    One Python runs the benchmark and the service.
    """
    python = interpreter(sys.executable)
    return Stamp(
        commit=commit(),
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
        load_average=os.getloadavg()[0],
        versions={
            "python": python.version,
            "python_build": python.build,
            **{package: version(package) for package in PACKAGES},
            **(_of_servers(servers) if servers else {}),
        },
    )


def _of_servers(servers: Servers) -> dict[str, str]:
    return {
        "database": str(servers.mysql.query("SELECT VERSION()")[0][0]),
        "broker": _broker(servers),
        "wrk": _first_line(["wrk", "-v"]).split()[1],
    }


def commit() -> str:
    """Return the short commit, with a + if files differ from it; `unknown` outside a checkout."""
    short = _first_line(["git", "rev-parse", "--short", "HEAD"])
    changed = _first_line(["git", "status", "--porcelain", "--", "ingest", "sql", "bench"])
    return f"{short}{'+' if changed else ''}" if short else "unknown"


def machine() -> str:
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "model name: unknown")
    memory_kib = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    cores = os.cpu_count()
    return f"{model.partition(':')[2].strip()}, {cores} cores, {memory_kib / 2**20:.0f} GiB, Linux {platform.release()}"


def filesystem(folder: Path) -> str:
    """Return type and mount options of the file system that holds `folder`."""
    return _first_line(["findmnt", "--noheadings", "--raw", "--output", "FSTYPE,OPTIONS", "--target", str(folder)])


def _broker(servers: Servers) -> str:
    name = "RabbitMQ"
    if isinstance(servers.rabbitmq, PrivateRabbitMQ):
        return f"{name} {servers.rabbitmq.ctl('version').strip()}"
    return f"{name}, given by its URL"


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines()


def _first_line(command: list[str]) -> str:
    """Return the first line of the output. The exit code is ignored, as `wrk -v` ends with 1."""
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.partition("\n")[0].strip()

"""Ports for private servers."""

import os
import random
import socket
from pathlib import Path

# The ports are above those of usual services. They are below the range from which the
# kernel takes ports for outgoing connections: a server that restarts must find its port
# free.
_LOWEST = 15_000
_EPHEMERAL_LOWEST_DEFAULT = 32_768
_taken: set[int] = set()

# Processes of one pytest-xdist run divide the ports among themselves, by the remainder.
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def free_port() -> int:
    """Return a free TCP port on 127.0.0.1 that this test run has not returned before.

    Raises OSError if 500 tries find no free port.
    """
    return _free(socket.SOCK_STREAM)


def free_udp_port() -> int:
    """Return a free UDP port in the same way."""
    return _free(socket.SOCK_DGRAM)


def _free(kind: int) -> int:
    highest = _ephemeral_lowest() - 1
    for _ in range(500):
        port = random.randrange(_LOWEST + _PROCESS, highest, _PROCESSES)
        if port not in _taken and _can_bind(port, kind):
            _taken.add(port)
            return port
    raise OSError(f"no free port between {_LOWEST} and {highest}")


def _ephemeral_lowest() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    except OSError:
        return _EPHEMERAL_LOWEST_DEFAULT
    lowest = int(text.split()[0])
    return lowest if lowest > _LOWEST + 1_000 else _EPHEMERAL_LOWEST_DEFAULT


def _can_bind(port: int, kind: int) -> bool:
    # No SO_REUSEADDR, so that a port in TIME_WAIT counts as used, too.
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

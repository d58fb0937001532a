"""Nodes of the simulated world, and the worker processes on them."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.simulation.machine.loop import Process

BOOT_US = 1_764_500_000_000_000
"""The wall clock, in Unix microseconds, when the world begins."""


class Node:
    """A machine: its data folder, its clock and its disk."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.clock_ahead_us = 0
        """The wall clock differs by this much from the world's."""
        self.clock_grain_us = 1
        """The wall clock goes on in steps of this length."""
        self.boots = 1
        self.booted_at = -1000.0
        """When the node booted last, in the world's time."""
        self.disk_full = False
        self.disk_fails = 0.0
        """The probability that a write or a sync fails with EIO."""
        self.syncs_lie = False
        self.clock_stepped_at = -1000.0
        """When somebody set the wall clock last, in the world's time."""
        self._tokens: dict[bytes, tuple[int | None, float]] = {}
        """Digest of each token in the file of tokens → its expiry, and since when it is there."""

    def step_clock(self, us: int, now: float) -> None:
        self.clock_ahead_us += us
        self.clock_stepped_at = now

    def save_tokens(self, tokens: Mapping[bytes, int | None], now: float) -> None:
        """A worker has saved these tokens, with their expiries."""
        had = self._tokens
        self._tokens = {
            digest: had[digest] if digest in had and had[digest][0] == until else (until, now)
            for digest, until in tokens.items()
        }

    def tokens_saved_by(self, then: float) -> dict[bytes, int | None]:
        """The tokens that have been in the file since `then`."""
        return {digest: until for digest, (until, since) in self._tokens.items() if since <= then}


class WorkerProcess(Process):
    """One life of a worker. `pid` is its process id."""

    def __init__(self, name: str, node: Node, pid: int) -> None:
        super().__init__(name)
        self.node = node
        self.pid = pid


class Entry(msgspec.Struct):
    """An entry of /proc."""

    name: str
    path: str


class DiskState(msgspec.Struct):
    """The part of `os.statvfs` that the service reads."""

    f_flag: int
    f_bavail: int
    f_frsize: int

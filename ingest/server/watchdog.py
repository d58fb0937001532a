"""Kills a worker whose event loop does not run, so that its clients do not wait and a new worker replaces it.

Each worker writes the time into its own file, and the supervisor reads the files. The kill loses nothing: acknowledged
events are durable, and for all others the closed connection tells the client to retry.
"""

import asyncio
import logging
import os
import re
import signal
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ingest.clock import Monotonic
from ingest.files.locks import holders_of_lost, lock
from ingest.ticks import pause

log = logging.getLogger("ingest.watchdog")

BEAT_SECONDS = 0.5
CHECK_SECONDS = 0.5
STALL_SECONDS = 2.0
"""If the watchdog, or the whole machine, was suspended this long, the workers get time to beat again."""

_BEAT = struct.Struct("d")
_STARTED = b"\1"
"""Follows the beat of a worker that has started."""
_PID = re.compile("[1-9][0-9]{0,9}")


async def beat(folder: Path, monotonic: Monotonic, started: Callable[[], bool]) -> None:
    """Write the time of this process's event loop until cancelled, and whether the worker has started.

    The file's lock ends with the process. It shows that the process id in the file's name still means this process.
    """
    path = folder / str(os.getpid())
    while (held := lock(path)) is None:  # noqa: ASYNC110 - a lock of another process has no event
        await asyncio.sleep(BEAT_SECONDS)  # the supervisor is reading the file of an earlier process with this id
    try:
        while True:
            if held.intact or held.renew():
                os.pwrite(held.descriptor, _BEAT.pack(monotonic()) + _STARTED * started(), 0)
            await pause(BEAT_SECONDS)
    finally:
        if held.intact:
            path.unlink()
        held.release()


class Watchdog:
    """Watches the workers that have begun to beat. `monotonic` is the same clock in all processes."""

    def __init__(self, folder: Path, limit_seconds: float, kill: Callable[[int], None], monotonic: Monotonic) -> None:
        self._folder = folder
        self._limit_seconds = limit_seconds
        self._kill = kill
        self._monotonic = monotonic
        self._looked = self._fair_from = monotonic()
        self._beats: dict[str, float] = {}
        """Process id → last beat. It is kept because a worker that hangs cannot restore a deleted file."""

    def check(self) -> None:
        """Kill each worker whose last beat is older than the limit."""
        now = self._monotonic()
        if now - self._looked > STALL_SECONDS:
            self._fair_from = now
        self._looked = now
        for name in self._workers():
            try:
                self._check(self._folder / name, now)
            except Exception:
                log.exception(
                    "the watchdog cannot check a worker; it continues with the others", extra={"worker": name}
                )

    def _workers(self) -> set[str]:
        """Return the process ids of workers. Other names in the folder are ignored."""
        with suppress(FileNotFoundError):
            return {*filter(_PID.fullmatch, os.listdir(self._folder)), *self._beats}  # noqa: PTH208 - much cheaper
        return {*self._beats}

    def _check(self, path: Path, now: float) -> None:
        try:
            beaten = _last_beat(path)
            if beaten is not None and self._is_late(beaten, now) and _is_dead(path):
                beaten = None
        except FileNotFoundError:
            beaten = self._beats.get(path.name) if int(path.name) in holders_of_lost(path) else None
        if beaten is None:
            self._beats.pop(path.name, None)
            return
        self._beats[path.name] = beaten
        if self._is_late(beaten, now):
            log.error("the event loop of a worker does not run; the worker is killed", extra={"worker": int(path.name)})
            self._kill(int(path.name))

    def _is_late(self, beaten: float, now: float) -> bool:
        return now - max(beaten, self._fair_from) > self._limit_seconds


def _last_beat(path: Path) -> float | None:
    """Return None if there is no beat yet."""
    content = _read(path)
    return float(_BEAT.unpack_from(content)[0]) if len(content) >= _BEAT.size else None


def has_started(folder: Path, pid: int) -> bool:
    """Return True if the worker with this process id says so in its file."""
    try:
        return _read(folder / str(pid))[_BEAT.size :] == _STARTED
    except FileNotFoundError:
        return False


def _is_dead(path: Path) -> bool:
    """Return True if the process of this file is dead. Then remove the file."""
    held = lock(path)
    if held is None:
        return False
    path.unlink()
    held.release()
    return True


def _read(path: Path) -> bytes:
    """Return the beat, or nothing if it is not a regular file: reading a pipe could block."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.pread(descriptor, _BEAT.size + len(_STARTED), 0) if is_file else b""
    finally:
        os.close(descriptor)


def kill(pid: int) -> None:
    """Kill a worker. Raises `ChildProcessError` for any other process, so a wrong file name does no harm."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    os.kill(pid, signal.SIGKILL)

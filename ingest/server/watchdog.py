"""A worker whose event loop stands still is killed, so that its clients do not wait, and another takes its place.

Each worker writes the time into a file of its own, and the supervisor reads them. Nothing is lost by the kill: what was
acknowledged is durable, and of the rest the clients learn by the closed connection that it was not.
"""

import asyncio
import logging
import os
import re
import signal
import stat
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ingest.clock import Monotonic
from ingest.files.locks import holders_of_lost, lock

log = logging.getLogger("ingest.watchdog")

BEAT_SECONDS = 0.5
LOOK_SECONDS = 0.5
STALL_SECONDS = 2.0
"""A watchdog that was held up for so long, as its whole machine may be, gives the workers time to beat again."""

_BEAT = struct.Struct("d")
_PID = re.compile("[1-9][0-9]{0,9}")


async def beat(folder: Path, monotonic: Monotonic) -> None:
    """Tell that this process's event loop turns, until cancelled.

    The file's lock, which ends with the process, tells that the process in its name is no other one yet.
    """
    path = folder / str(os.getpid())
    while (held := lock(path)) is None:  # noqa: ASYNC110 - another process's lock tells nobody of its end
        await asyncio.sleep(BEAT_SECONDS)  # the supervisor looks at what an earlier process of this number left
    try:
        while True:
            if held.intact or held.renew():
                os.pwrite(held.descriptor, _BEAT.pack(monotonic()), 0)
            await asyncio.sleep(BEAT_SECONDS)
    finally:
        if held.intact:
            path.unlink()
        held.release()


class Watchdog:
    """Looks after the workers that have begun to beat. `monotonic` is the same clock in all processes."""

    def __init__(self, folder: Path, limit_seconds: float, kill: Callable[[int], None], monotonic: Monotonic) -> None:
        self._folder = folder
        self._limit_seconds = limit_seconds
        self._kill = kill
        self._monotonic = monotonic
        self._looked = self._fair_from = monotonic()
        self._beats: dict[str, float] = {}
        """Process id → its last beat: a worker that stands still cannot make its file anew if somebody deletes it."""

    def look(self) -> None:
        """Kill whoever has not beaten for the limit."""
        now = self._monotonic()
        if now - self._looked > STALL_SECONDS:
            self._fair_from = now
        self._looked = now
        for name in self._workers():
            try:
                self._look_at(self._folder / name, now)
            except Exception:
                log.exception("the watchdog cannot look after a worker; it goes on", extra={"worker": name})

    def _workers(self) -> set[str]:
        """Process ids. Other names in the folder are no worker's."""
        with suppress(FileNotFoundError):
            names = [path.name for path in self._folder.iterdir()]
            return {*filter(_PID.fullmatch, names), *self._beats}
        return {*self._beats}

    def _look_at(self, path: Path, now: float) -> None:
        try:
            beaten = _last_beat(path)
        except FileNotFoundError:
            beaten = self._beats.get(path.name) if int(path.name) in holders_of_lost(path) else None
        if beaten is None:
            self._beats.pop(path.name, None)
            return
        self._beats[path.name] = beaten
        if now - max(beaten, self._fair_from) > self._limit_seconds:
            log.error("a worker stands still and is killed", extra={"worker": int(path.name)})
            self._kill(int(path.name))


def _last_beat(path: Path) -> float | None:
    """None if there is none yet, or its process is dead; then its file is removed."""
    content = _read(path)
    if len(content) < _BEAT.size:
        return None
    held = lock(path)
    if held is None:
        return float(_BEAT.unpack(content)[0])
    path.unlink()
    held.release()
    return None


def _read(path: Path) -> bytes:
    """The beat; nothing of what is no regular file, which could hold up whoever reads it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, _BEAT.size, 0) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)


def watch(folder: Path, limit_seconds: float) -> None:
    """Look after the workers in a thread, as long as this process lives."""
    watchdog = Watchdog(folder, limit_seconds, kill, time.monotonic)
    threading.Thread(target=_look_for_ever, args=(watchdog,), name="watchdog", daemon=True).start()


def kill(pid: int) -> None:
    """Raises `ChildProcessError` for what is no worker of this supervisor: a file's name alone kills nobody."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    os.kill(pid, signal.SIGKILL)


def _look_for_ever(watchdog: Watchdog) -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        try:
            watchdog.look()
        except Exception:
            log.exception("the watchdog could not look after the workers; it goes on")

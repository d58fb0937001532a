"""Looks whether a worker's locks are still those of their paths, and takes those anew that are not.

Cleaners of old files, and people, delete lock files or their folders. The worker goes on, and says so.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable

from ingest.clock import Monotonic
from ingest.seats import FileLock

log = logging.getLogger("ingest.locks")

LOOK_SECONDS = 1.0
TOLD_SECONDS = 300.0
"""`/readyz` tells of a lock that was taken anew for so long: people shall find out what deletes files there."""
TOUCH_SECONDS = 3600.0
"""The files' times are set so often, so that a cleaner that goes by age finds none of them old."""

Locks = Callable[[], FileLock | None]
"""The lock that is held now, if there is one."""


class LockWatch:
    """`run` works until it is cancelled."""

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._watched: list[Locks] = []
        self._lost: dict[str, str] = {}
        """Path of a lock that is gone and cannot be taken anew → why."""
        self._told: str | None = None
        self._told_until = self._touch_at = 0.0

    def add(self, locks: Locks) -> None:
        self._watched.append(locks)

    def problem(self) -> str | None:
        """What was deleted, for `/readyz`."""
        if self._lost:
            missing = "; ".join(f"{path} ({reason})" for path, reason in self._lost.items())
            return f"locks are gone and cannot be taken anew: {missing}"
        return self._told if self._monotonic() < self._told_until else None

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Check each lock once. Never raises for a file system that fails."""
        touch = self._monotonic() >= self._touch_at
        if touch:
            self._touch_at = self._monotonic() + TOUCH_SECONDS
        for locks in self._watched:
            held = locks()
            if held is not None and not held.released:
                self._check(held, touch=touch)

    def _check(self, held: FileLock, *, touch: bool) -> None:
        path = str(held.path)
        try:
            if held.intact:
                if touch:
                    os.utime(held.descriptor)
            elif held.renew():
                self._tell(path)
            else:
                self._miss(path, "another process has it now")
                return
        except OSError as exc:
            self._miss(path, str(exc))
        else:
            self._lost.pop(path, None)

    def _tell(self, path: str) -> None:
        self._told = f"{path} was deleted or replaced while in use: find what deletes files of the data folder"
        self._told_until = self._monotonic() + TOLD_SECONDS
        extra = {"path": path, "kept": "the lock, taken anew", "do": "find what deletes files of the data folder"}
        log.error("a lock's file was deleted or replaced while in use", extra=extra)

    def _miss(self, path: str, reason: str) -> None:
        if self._lost.get(path) != reason:
            self._lost[path] = reason
            extra = {"path": path, "reason": reason, "do": "mend the data folder, and restart the service"}
            log.error("a lock's file was deleted or replaced, and cannot be taken anew", extra=extra)


def watch_in_thread(held: FileLock) -> None:
    """Look after a lock of a process without an event loop, as long as it lives."""
    watch = LockWatch(time.monotonic)
    watch.add(lambda: held)
    threading.Thread(target=_look_for_ever, args=(watch,), name="locks", daemon=True).start()


def _look_for_ever(watch: LockWatch) -> None:
    while True:
        watch.look()
        time.sleep(LOOK_SECONDS)

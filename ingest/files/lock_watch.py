"""Looks whether a worker's locks and metric files are still at their paths, and makes those anew that are not.

Cleaners of old files, and people, delete lock files or their folders. The worker goes on, and says so.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ingest.clock import Monotonic
from ingest.files.locks import FileLock

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
        self._restores: list[tuple[Path, Callable[[], bool]]] = []
        self._lost: dict[str, str] = {}
        """Path of a lock that is gone and cannot be taken anew → why."""
        self._told: str | None = None
        self._told_until = self._touch_at = 0.0

    def add(self, locks: Locks) -> None:
        self._watched.append(locks)

    def add_files(self, folder: Path, restore: Callable[[], bool]) -> None:
        """`restore` makes files of the folder anew if they are gone, and tells whether they were. Raises `OSError`."""
        self._restores.append((folder, restore))

    def problem(self) -> str | None:
        """What was deleted, for `/readyz`."""
        if self._lost:
            missing = "; ".join(f"{path} ({reason})" for path, reason in self._lost.items())
            return f"files are gone and cannot be made anew: {missing}"
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
        for folder, restore in self._restores:
            self._restore(str(folder), restore)

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

    def _restore(self, path: str, restore: Callable[[], bool]) -> None:
        try:
            if restore():
                self._tell(path)
        except OSError as exc:
            self._miss(path, str(exc))
        else:
            self._lost.pop(path, None)

    def _tell(self, path: str) -> None:
        self._told = f"{path} was deleted or replaced while in use: find what deletes files of the data folder"
        self._told_until = self._monotonic() + TOLD_SECONDS
        extra = {"path": path, "kept": "all: it was made anew", "do": "find what deletes files of the data folder"}
        log.error("a file was deleted or replaced while in use", extra=extra)

    def _miss(self, path: str, reason: str) -> None:
        if self._lost.get(path) != reason:
            self._lost[path] = reason
            extra = {"path": path, "reason": reason, "do": "mend the data folder, and restart the service"}
            log.error("a file was deleted or replaced, and cannot be made anew", extra=extra)


def watch_in_thread(held: FileLock) -> None:
    """Look after a lock of a process without an event loop, as long as it lives."""
    watch = LockWatch(time.monotonic)
    watch.add(lambda: held)
    threading.Thread(target=_look_for_ever, args=(watch,), name="locks", daemon=True).start()


def _look_for_ever(watch: LockWatch) -> None:
    while True:
        watch.look()
        time.sleep(LOOK_SECONDS)

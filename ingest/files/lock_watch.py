"""Checks that a worker's lock files and metric files still exist, and restores deleted ones.

People and cleaners of old files delete lock files or their folders. The worker continues, and logs it.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from ingest.clock import Monotonic
from ingest.files.locks import FileLock
from ingest.ticks import pause

log = logging.getLogger("ingest.locks")

LOOK_SECONDS = 1.0
SHOWN_SECONDS = 300.0
"""`/readyz` shows a restored file for this time, so that people find out what deletes files there."""
TOUCH_SECONDS = 3600.0
"""Interval at which the watch renews the files' times, so that no cleaner finds them old."""

Locks = Callable[[], FileLock | None]
"""Returns the lock that is held now, if there is one."""


class LockWatch:
    """`run` checks the files until it is cancelled."""

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._watched: list[Locks] = []
        self._restores: list[tuple[Path, Callable[[], bool]]] = []
        self._lost: dict[str, str] = {}
        """Path of a file that is gone and cannot be restored → reason."""
        self._shown: str | None = None
        self._shown_until = self._touch_at = 0.0

    def add(self, locks: Locks) -> None:
        self._watched.append(locks)

    def add_files(self, folder: Path, restore: Callable[[], bool]) -> None:
        """`restore` recreates missing files of the folder, and returns True if any was missing. Raises `OSError`."""
        self._restores.append((folder, restore))

    def problem(self) -> str | None:
        """Return what was deleted, for `/readyz`; None if nothing was."""
        if self._lost:
            missing = "; ".join(f"{path} ({reason})" for path, reason in self._lost.items())
            return f"files are gone and cannot be restored: {missing}"
        return self._shown if self._monotonic() < self._shown_until else None

    async def run(self) -> None:
        while True:
            self.look()
            await pause(LOOK_SECONDS)

    def look(self) -> None:
        """Check each file once. Never raises, even if the file system fails."""
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
                self._report_restored(path)
            else:
                self._report_missing(path, "another process has it now")
                return
        except OSError as exc:
            self._report_missing(path, str(exc))
        else:
            self._lost.pop(path, None)

    def _restore(self, path: str, restore: Callable[[], bool]) -> None:
        try:
            if restore():
                self._report_restored(path)
        except OSError as exc:
            self._report_missing(path, str(exc))
        else:
            self._lost.pop(path, None)

    def _report_restored(self, path: str) -> None:
        self._shown = f"{path} was deleted or replaced while in use: find what deletes files of the data folder"
        self._shown_until = self._monotonic() + SHOWN_SECONDS
        extra = {"path": path, "kept": "all: it was restored", "do": "find what deletes files of the data folder"}
        log.error("a file was deleted or replaced while in use", extra=extra)

    def _report_missing(self, path: str, reason: str) -> None:
        if self._lost.get(path) != reason:
            self._lost[path] = reason
            extra = {"path": path, "reason": reason, "do": "repair the data folder, then restart the service"}
            log.error("a file was deleted or replaced, and cannot be restored", extra=extra)

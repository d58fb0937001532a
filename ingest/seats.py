"""A worker's seat: the lowest number no other live worker of this data folder has.

The lock of an open file ends with its process, also after kill -9, so a seat is free as soon as its
worker is dead, and the next worker continues that seat's metric files.
"""

import fcntl
import os
from pathlib import Path

from ingest.errors import SettingsError

SEATS_MAX = 256


class Seat:
    """Held as long as this object lives."""

    def __init__(self, number: int, descriptor: int) -> None:
        self.number = number
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


def lock(path: Path) -> int | None:
    """The descriptor of the file, locked, or None if another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    except BlockingIOError:
        os.close(descriptor)
        return None


def take_seat(folder: Path) -> Seat:
    """The lowest free seat. Raises `SettingsError` if the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(SEATS_MAX):
            descriptor = lock(folder / f"seat-{number}.lock")
            if descriptor is not None:
                return Seat(number, descriptor)
    except OSError as exc:
        raise SettingsError(f"INGEST_DATA_DIR: {folder} cannot be used: {exc.strerror}.") from exc
    raise SettingsError(f"More than {SEATS_MAX} workers use the data folder {folder}.")

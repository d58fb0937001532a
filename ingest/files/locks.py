"""Locks of the data folder's files, and a worker's seat: the lowest number no other live worker has.

The lock of an open file ends with its process, also after kill -9, so a seat is free as soon as its
worker is dead, and the next worker continues that seat's metric files.

A lock holds a file and not a name. Whoever deletes the file of a live process lets another process lock the name.
So a holder looks whether its file is still the one at the path, and nobody takes a path whose last file is still open.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ingest.errors import SettingsError

SEATS_MAX = 256
TRIES_MAX = 10
"""A file that is deleted or replaced while it is being locked is tried so many times."""
SAFELY = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
"""A pipe in a lock's place holds nobody up, and a link leads nobody to another file."""
LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""How file systems say that they lock no files."""


class FileLock:
    """Held until it is released or its process ends; other processes respect it only while it is `intact`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._content: bytes | None = None

    @property
    def descriptor(self) -> int:
        """Of the locked file, open for reading and writing. Raises `OSError` after the release."""
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the lock is released", str(self.path))
        return self._descriptor

    @property
    def released(self) -> bool:
        return self._descriptor is None

    @property
    def intact(self) -> bool:
        """False if the file was deleted, moved or replaced. Raises `OSError` if the path cannot be looked at."""
        if self._descriptor is None:
            return False
        held = os.fstat(self._descriptor)
        try:
            return held.st_nlink > 0 and os.path.samestat(held, self.path.lstat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    def describe(self, content: bytes) -> None:
        """Write into the file, also into a renewed one, what others may want to know. Raises `OSError`."""
        self._content = content
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, content, 0)

    def renew(self) -> bool:
        """Lock the path's file as it is now, made anew if there is none; False if another process has it.

        The earlier file is held until then. Raises `OSError`.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = _locked(self.path)
        if new is None:
            return False
        self.release()
        self._descriptor = new.descriptor
        if self._content is not None:
            self.describe(self._content)
        return True

    def release(self) -> None:
        """Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class WorkerIndex:
    """Held as long as this object lives."""

    def __init__(self, number: int, lock: FileLock) -> None:
        self.number = number
        self.lock = lock

    def release(self) -> None:
        self.lock.release()


def lock(path: Path) -> FileLock | None:
    """The file, locked, or None if another process has it. Raises `OSError`.

    A free lock alone does not tell that its last holder is dead: see `holders_of_lost`.
    """
    taken = _locked(path)
    if taken is not None and holders_of_lost(path):
        taken.release()
        return None
    return taken


def is_locked(path: Path) -> bool:
    """Whether a live process has it, also if its file was deleted; creates nothing. Raises `OSError`."""
    return is_flocked(path) or bool(holders_of_lost(path))


def is_flocked(path: Path) -> bool:
    """Whether the file that is there now is locked; creates nothing. Raises `OSError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | SAFELY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holders_of_lost(path: Path) -> set[int]:
    """The processes that have a file open that was at this path, and was deleted or got a suffix to its name."""
    name = os.path.realpath(path)
    return openers(f"{name} (deleted)", f"{name}.", f"{name}~")


def openers(*beginnings: str) -> set[int]:
    """The processes that have a file open whose real path begins so.

    The kernel tells it (Linux's /proc), of processes of the same user; elsewhere the set is empty.
    """
    return {pid for pid, link in _open_files() if link.startswith(beginnings)}


def take_worker_index(folder: Path) -> WorkerIndex:
    """The lowest free seat. Raises `SettingsError` if the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(SEATS_MAX):
            taken = lock(folder / f"seat-{number}.lock")
            if taken is not None:
                return WorkerIndex(number, taken)
    except OSError as exc:
        raise SettingsError(f"INGEST_DATA_DIR: {folder} cannot be used: {exc.strerror}.") from exc
    raise SettingsError(f"More than {SEATS_MAX} workers use the data folder {folder}.")


def _locked(path: Path) -> FileLock | None:
    """The lock of the file that is at the path at the end."""
    for _ in range(TRIES_MAX):
        taken = FileLock(path, os.open(path, os.O_RDWR | os.O_CREAT | SAFELY, 0o640))
        try:
            fcntl.flock(taken.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if taken.intact:
                return taken
        except BlockingIOError:
            taken.release()
            return None
        except OSError as exc:
            taken.release()
            if exc.errno in LOCKLESS:
                raise OSError(exc.errno, "its file system has no file locks; use a local disk", str(path)) from exc
            raise
        taken.release()
    raise OSError(errno.ESTALE, "another process replaces the lock's file again and again", str(path))


def _open_files() -> Iterator[tuple[int, str]]:
    """Process id and path of every open file that this user may see."""
    with suppress(OSError):
        for process in os.scandir("/proc"):
            if not process.name.isdigit():
                continue
            with suppress(OSError):  # it has ended, or is another user's
                for descriptor in os.scandir(f"{process.path}/fd"):
                    with suppress(OSError):
                        yield int(process.name), os.readlink(descriptor.path)  # noqa: PTH115 - there may be thousands

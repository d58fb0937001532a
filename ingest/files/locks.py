"""Locks of the data folder's files, and the worker index: the lowest number that no other live worker has.

The lock of an open file ends with its process, also after kill -9. So an index is free as soon as its worker is dead,
and the next worker continues the metric files of that index.

The system locks a file, not a name. If somebody deletes the file of a live process, another process could lock a new
file of that name. So a holder checks that its file is still at the path. And no process locks a path whose deleted file
is still open in another process.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ingest.errors import SettingsError

WORKERS_MAX = 256
TRIES_MAX = 10
"""Attempts to lock a file that others delete or replace meanwhile."""
SAFELY = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
"""With these flags a pipe at the path does not block the open, and a symbolic link is not followed."""
LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of file systems without locks."""


class FileLock:
    """Held until it is released or its process ends. Other processes respect it only while it is `intact`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._content: bytes | None = None

    @property
    def descriptor(self) -> int:
        """The locked file's descriptor, open for reading and writing. Raises `OSError` after the release."""
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the lock is released", str(self.path))
        return self._descriptor

    @property
    def released(self) -> bool:
        return self._descriptor is None

    @property
    def intact(self) -> bool:
        """False if the file was deleted, moved or replaced. Raises `OSError` if the path cannot be checked."""
        if self._descriptor is None:
            return False
        held = os.fstat(self._descriptor)
        try:
            return held.st_nlink > 0 and os.path.samestat(held, self.path.lstat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    def describe(self, content: bytes) -> None:
        """Write a content for other processes into the file, and into each renewed file. Raises `OSError`."""
        self._content = content
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, content, 0)

    def renew(self) -> bool:
        """Lock the file that is at the path now, or a new one. Return False if another process has it.

        The earlier file stays locked until then. Raises `OSError`.
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
    """A worker's number, held as long as this object lives."""

    def __init__(self, number: int, lock: FileLock) -> None:
        self.number = number
        self.lock = lock

    def release(self) -> None:
        self.lock.release()


def lock(path: Path) -> FileLock | None:
    """Lock the file. Return None if another process has it. Raises `OSError`.

    A free lock does not prove that its last holder is dead: see `holders_of_lost`.
    """
    taken = _locked(path)
    if taken is not None and holders_of_lost(path):
        taken.release()
        return None
    return taken


def is_locked(path: Path) -> bool:
    """Return True if a live process has the lock, even if its file was deleted. Creates nothing. Raises `OSError`."""
    return is_flocked(path) or bool(holders_of_lost(path))


def is_flocked(path: Path) -> bool:
    """Return True if the file at the path is locked. Creates nothing. Raises `OSError`."""
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
    """Return the processes that have a deleted file of this path open, or one that was renamed with a suffix."""
    name = os.path.realpath(path)
    return openers(f"{name} (deleted)", f"{name}.", f"{name}~")


def openers(*beginnings: str) -> set[int]:
    """Return the processes that have a file open whose real path begins with one of these.

    Linux's /proc shows processes of the same user. On other systems the set is empty.
    """
    return {pid for pid, link in _open_files() if link.startswith(beginnings)}


def take_worker_index(folder: Path) -> WorkerIndex:
    """Take the lowest free worker index. Raises `SettingsError` if the folder is not writable, or if all are taken."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(WORKERS_MAX):
            taken = lock(folder / f"seat-{number}.lock")
            if taken is not None:
                return WorkerIndex(number, taken)
    except OSError as exc:
        raise SettingsError(f"INGEST_DATA_DIR: {folder} cannot be used: {exc.strerror}.") from exc
    raise SettingsError(f"More than {WORKERS_MAX} workers use the data folder {folder}.")


def _locked(path: Path) -> FileLock | None:
    """Lock the file, and make sure that it is still at the path. Return None if another process has it."""
    for _ in range(TRIES_MAX):
        taken = FileLock(path, os.open(path, os.O_RDWR | os.O_CREAT | SAFELY, 0o600))
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
    """Yield process id and path of every open file that this user may see."""
    with suppress(OSError):
        for process in os.scandir("/proc"):
            if not process.name.isdigit():
                continue
            with suppress(OSError):  # the process has ended, or belongs to another user
                for descriptor in os.scandir(f"{process.path}/fd"):
                    with suppress(OSError):
                        yield int(process.name), os.readlink(descriptor.path)  # noqa: PTH115 - there may be thousands

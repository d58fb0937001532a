"""The spool's folder: a file a worker, which its lock names the owner of; what a dead worker left is adopted.

A file that SQLite cannot read is set aside under another name and never deleted: `ingest.spool.salvage`
reads what is whole in it, and it stays for people.
"""

from collections.abc import Iterator
from pathlib import Path

from ingest.errors import SettingsError
from ingest.seats import SEATS_MAX, FileLock, is_locked, lock

SUFFIX, LOCK, DAMAGED, SALVAGED = ".db", ".lock", ".damaged", ".salvaged"
SQLITE_SUFFIXES = ("-wal", "-shm")


class SpoolFile:
    """One spool's file, held as long as this object is not released."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self.lock = lock

    @property
    def intact(self) -> bool:
        """False if the lock's file was deleted, moved or replaced: see `FileLock.intact` and `renew`."""
        return self.lock.intact

    def release(self) -> None:
        """Safe to call twice."""
        self.lock.release()

    def remove(self) -> None:
        """An empty spool of a dead worker; its lock stays, as another worker may be waiting for it."""
        for path in (self.path, *beside(self.path)):
            path.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Give the damaged file and its log other names, under which they are found by `damaged`."""
        number = 0
        while True:
            aside = self.path.with_suffix(f".{number}{DAMAGED}")
            if not aside.exists() and not aside.with_suffix(SALVAGED).exists():
                break
            number += 1
        self.path.with_name(f"{self.path.name}-shm").unlink(missing_ok=True)  # holds nothing but an index of the log
        log = self.path.with_name(f"{self.path.name}-wal")
        if log.exists():
            log.rename(aside.with_name(f"{aside.name}-wal"))
        self.path.rename(aside)
        return aside


def beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in SQLITE_SUFFIXES]


def take_spool(folder: Path) -> SpoolFile:
    """The first spool that nobody has. Raises `SettingsError` if the folder cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(SEATS_MAX):
            if taken := _take(folder / f"spool-{number}{SUFFIX}"):
                return taken
    except OSError as exc:
        raise SettingsError(f"INGEST_DATA_DIR: {folder} cannot be used: {exc.strerror}.") from exc
    raise SettingsError(f"More than {SEATS_MAX} workers use the data folder {folder}.")


def take_orphans(folder: Path) -> Iterator[SpoolFile]:
    """The spools of dead workers, each held by the caller from then on."""
    for path in spools(folder):
        if (taken := _take(path)) is not None:
            if path.exists():
                yield taken
            else:
                taken.release()  # another worker has just adopted it


def spools(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"spool-*{SUFFIX}"))


def damaged(folder: Path) -> list[Path]:
    """Files set aside whose records are not salvaged yet."""
    return sorted(folder.glob(f"spool-*{DAMAGED}"))


def salvaged(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"spool-*{SALVAGED}"))


def mark_salvaged(path: Path) -> Path:
    """All that is whole in a damaged file is in another spool now: it stays for people, under a third name."""
    log = path.with_name(f"{path.name}-wal")
    done = path.with_suffix(SALVAGED)
    if log.exists():
        log.rename(done.with_name(f"{done.name}-wal"))
    return path.rename(done)


def is_held(path: Path) -> bool:
    """Whether a live process has the spool. Creates nothing."""
    return is_locked(path.with_suffix(LOCK))


def _take(path: Path) -> SpoolFile | None:
    taken = lock(path.with_suffix(LOCK))
    return None if taken is None else SpoolFile(path, taken)

"""Keeps other users of the host out of the service's files, which hold whole events."""

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ingest.server.file_owner import OWN, entries
from ingest.settings import Settings
from ingest.sqlite import file_of

log = logging.getLogger("ingest.files")

OTHERS = 0o077
"""The rights of the group and of all other users."""
NAMED_MAX = 5
SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
STRANGE_ALLOWED = {"lost+found"}
"""A volume's own entry."""


class Tightened(msgspec.Struct, frozen=True):
    """Files and folders that other users could use until now, and those that they still can use."""

    changed: list[Path]
    left: list[Path]

    def report(self) -> None:
        """Call this when the log is set up."""
        if self.changed:
            log.warning(
                "other users had rights on files of the service: the rights are removed now",
                extra=_named(self.changed),
            )
        if self.left:
            log.warning("other users have rights on files that this user cannot change", extra=_named(self.left))


def _named(paths: list[Path]) -> dict[str, object]:
    return {"files": len(paths), "first": [str(path) for path in paths[:NAMED_MAX]]}


def make_private(settings: Settings) -> Tightened:
    """Remove the rights of other users from the files of earlier versions. Call this before anything is written."""
    changed: list[Path] = []
    left: list[Path] = []
    for path, status in _files(settings):
        if stat.S_ISLNK(status.st_mode) or not status.st_mode & OTHERS:
            continue
        try:
            _tighten(path)
            changed.append(path)
        except FileNotFoundError:
            continue
        except OSError:
            left.append(path)
    return Tightened(changed, left)


def _files(settings: Settings) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the data folder if it is the service's alone, all files in it, and a SQLite database's files elsewhere."""
    folder = settings.data_dir.resolve()
    with suppress(OSError):
        if _is_ours_alone(folder):
            yield folder, folder.stat()
    yield from entries(folder)
    if database := file_of(settings.database_url):
        for path in (database, *(database.with_name(f"{database.name}-{kind}") for kind in ("wal", "shm"))):
            with suppress(OSError):
                yield path, path.lstat()


def _is_ours_alone(folder: Path) -> bool:
    """False for a mounted volume of another user, such as root's in Kubernetes, and for a folder with other files."""
    if folder.stat().st_uid != os.geteuid():
        return False
    own = {path.name for pattern in OWN for path in folder.glob(pattern)}
    return {path.name for path in folder.iterdir()} <= own | STRANGE_ALLOWED


def _tighten(path: Path) -> None:
    """The open file is changed, not the name: somebody may exchange a file in a folder that others may write."""
    descriptor = os.open(path, SAFELY)
    try:
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & ~OTHERS)
    finally:
        os.close(descriptor)

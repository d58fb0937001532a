"""Whose files are: a command of another user must not leave files that the service cannot use."""

import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ingest.errors import SettingsError

ENTRIES_MAX = 10_000
"""So many files are looked at."""
OWN = ("run", "slots", "spool", "*.db", "*.db-wal", "*.db-shm")
"""Names of the service's files in the folder; a mounted volume may have others, such as `lost+found`."""
READ, WRITE, ENTER = os.R_OK, os.W_OK, os.X_OK


def check_folder(folder: Path) -> str:
    """What was found; creates nothing. Raises `SettingsError` if the folder, or a file in it, cannot be used."""
    there = nearest(folder)
    if not (there.is_dir() and _may(there, WRITE | ENTER)):
        raise SettingsError(f"INGEST_DATA_DIR: {folder} cannot be used by {name_of(os.geteuid())}.")
    if there != Path(os.path.abspath(folder)):  # noqa: PTH100 - see `nearest`
        return f"{folder} is not there yet, and can be made"
    found = list(islice(_entries(folder), ENTRIES_MAX))
    for path, status in found:
        if not _may(path, READ | WRITE):
            raise SettingsError(f"INGEST_DATA_DIR: {path} belongs to {name_of(status.st_uid)}.")
    if len(owners := _owners(folder, found)) > 1:
        names = " and ".join(sorted(map(name_of, owners)))
        raise SettingsError(
            f"INGEST_DATA_DIR: {folder} and its files belong to {names}. Give all to the service's user: chown -R."
        )
    return f"{folder} can be written"


def nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    full = Path(os.path.abspath(path))  # noqa: PTH100 - `..` in it must not follow a link that is missing
    return next(found for found in (full, *full.parents) if found.exists())


def name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _owners(folder: Path, entries: list[tuple[Path, os.stat_result]]) -> set[int]:
    """Of the folder's files; of the folder itself only if it is a user's: root's may be a mounted volume."""
    return {status.st_uid for _, status in entries} | ({folder.stat().st_uid} - {0})


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    own = [found for pattern in OWN for found in folder.glob(pattern)]
    for path in (*own, *(below for top in own for below in top.rglob("*"))):
        with suppress(FileNotFoundError):  # a running service's files come and go
            yield path, path.lstat()


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True) or not path.exists()

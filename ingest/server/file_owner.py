"""Keeps the owner of files: a command of another user must not leave files that the service cannot use."""

import logging
import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from ingest.errors import SettingsError
from ingest.server.data_folder import LOCK
from ingest.settings import Settings
from ingest.sqlite import file_of

log = logging.getLogger("ingest.files")

ENTRIES_MAX = 10_000
"""Limit of files that `ingest doctor` checks."""
OWN = ("run", "slots", "spool", "*.db", "*.db-wal", "*.db-shm", "cluster-settings.json", "archive-folder.json")
"""Names of the service's files. A mounted volume may have other files, such as `lost+found`."""
READ, WRITE, ENTER = os.R_OK, os.W_OK, os.X_OK


def check_folder(folder: Path) -> str:
    """Return the result for the user. Creates nothing. Raises `SettingsError` if the folder or a file is unusable."""
    there = nearest(folder)
    if not (there.is_dir() and _may(there, WRITE | ENTER)):
        raise SettingsError(f"INGEST_DATA_DIR: {folder} cannot be used by {name_of(os.geteuid())}.")
    if there != Path(os.path.abspath(folder)):  # noqa: PTH100 - see `nearest`
        return f"{folder} is not there yet, and can be made"
    found = list(islice(entries(folder), ENTRIES_MAX))
    for path, status in found:
        if not _may(path, READ | WRITE):
            raise SettingsError(f"INGEST_DATA_DIR: {path} belongs to {name_of(status.st_uid)}.")
    if len(owners := _owners(folder, found)) > 1:
        names = " and ".join(sorted(map(name_of, owners)))
        raise SettingsError(
            f"INGEST_DATA_DIR: {folder} and its files belong to {names}. Give all to the service's user: chown -R."
        )
    return f"{folder} can be written"


def act_as_owner(settings: Settings, *, folder: bool, writes: bool = True) -> None:
    """Call this before a command touches files. Root becomes the service's user, who then owns all new files.

    `folder`: the command uses the data folder. A SQLite database counts in any case. Raises `SettingsError` if the
    command writes and another user than the service's runs it.
    """
    database = file_of(settings.database_url)
    if not (folder or database):
        return
    own = [settings.run_dir / LOCK, settings.run_dir, *([database] if database else [])]
    there = next(filter(os.path.exists, own), None)
    near = there or nearest(settings.data_dir if folder else database or settings.data_dir)
    owner = near.stat()
    if os.geteuid() == owner.st_uid:
        return
    if os.geteuid() == 0:
        _become(owner)
    elif writes and (there or not _may(near, WRITE)):
        raise SettingsError(
            f"{near} belongs to {name_of(owner.st_uid)}: run the command as that user. Otherwise the service "
            "cannot use files that the command creates."
        )


def root_warning(data_dir: Path) -> str | None:
    """Return a warning if root serves from another user's folder."""
    owner = nearest(data_dir).stat().st_uid
    if os.geteuid() or not owner:
        return None
    return (
        f"{data_dir} belongs to {name_of(owner)}, but the service runs as root: a later service of that user cannot "
        "use the files that this one creates"
    )


def _become(owner: os.stat_result) -> None:
    """Change to that user permanently. Root stays root if that user cannot run this program, so has no service."""
    if not _can_run(owner):
        log.warning("running as root: the data folder's owner cannot run this program", extra={"uid": owner.st_uid})
        return
    try:
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:
        os.setgroups([])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)


def _can_run(owner: os.stat_result) -> bool:
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        modules = (__file__, msgspec.__file__, os.__file__)  # of this project, its dependencies and Python
        return all(os.access(file, READ, effective_ids=True) for file in modules)
    finally:
        os.seteuid(0)
        os.setegid(0)


def nearest(path: Path) -> Path:
    """Return the path itself, or the nearest existing folder above it."""
    full = Path(os.path.abspath(path))  # noqa: PTH100 - `..` must not follow a missing link
    return next(found for found in (full, *full.parents) if os.path.exists(found))  # noqa: PTH110 - False also without permission


def name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _owners(folder: Path, entries: list[tuple[Path, os.stat_result]]) -> set[int]:
    """Return the owners of the files and of the folder. A folder of root is left out: it may be a mounted volume."""
    return {status.st_uid for _, status in entries} | ({folder.stat().st_uid} - {0})


def entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the service's files and folders in the data folder."""
    own = [found for pattern in OWN for found in folder.glob(pattern)]
    for path in (*own, *(below for top in own for below in top.rglob("*"))):
        with suppress(FileNotFoundError):  # a running service creates and deletes files
            yield path, path.lstat()


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True) or not path.exists()

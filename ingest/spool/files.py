"""The spool's folder. A spool is a lock, held by its owner, and segments. Live workers adopt a dead worker's spool.

- `spool-0.lock`: the lock of spool 0
- `spool-0.00000001.9f86d081884c7d65.log`: its first segment. The name has the mark of its entries.
- `spool-0.00000001.9f86d081884c7d65.damaged`: a drained segment with unreadable bytes in it, kept for an operator
- `spool-0.1738331100123456789.retry`: ids of events that an operator wants to be tried again
- `spool-0.db`, `spool-0.0.damaged`: files of an older version, see `ingest.spool.sqlite_spool`
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ingest.errors import SettingsError
from ingest.files.locks import WORKERS_MAX, FileLock, is_locked, lock

LOG, DAMAGED, RETRY = ".log", ".damaged", ".retry"
_segment_name = re.compile(r"spool-(\d+)\.(\d{8,18})\.([0-9a-f]{16})\.(?:log|damaged)")
_legacy_name = re.compile(r"spool-\d+(?:\.db|\.\d+\.damaged)")


class SpoolFiles:
    """One spool's files, held until `release`."""

    def __init__(self, folder: Path, number: int, lock: FileLock) -> None:
        self.folder = folder
        self.number = number
        self.lock = lock

    def release(self) -> None:
        """Safe to call twice. The lock's file stays: another worker may be waiting for it."""
        self.lock.release()

    def segments(self) -> list[Path]:
        return segments_of(self.folder, self.number)

    def requests(self) -> list[Path]:
        names = _names(self.folder, f"spool-{self.number}.")
        return [self.folder / name for name in names if name.endswith(RETRY)]

    def next_number(self) -> int:
        """A number above that of every segment, damaged ones included."""
        paths = self.folder.glob(f"spool-{self.number}.*")
        return 1 + max((number_of(path) for path in paths if _segment_name.fullmatch(path.name)), default=0)

    def path_of(self, number: int, mark: bytes) -> Path:
        return self.folder / f"spool-{self.number}.{number:08d}.{mark.hex()}{LOG}"

    def legacy(self) -> list[Path]:
        return [path for path in legacy(self.folder) if int(path.name[6:].split(".")[0]) == self.number]


def segments_of(folder: Path, number: int) -> list[Path]:
    """The segments, oldest first."""
    return sorted(folder.glob(f"spool-{number}.*{LOG}"), key=number_of)


def number_of(path: Path) -> int:
    """The number of a segment within its spool."""
    return int(_parts(path)[1])


def mark_of(path: Path) -> bytes:
    return bytes.fromhex(_parts(path)[2])


def _parts(path: Path) -> tuple[str, ...]:
    match = _segment_name.fullmatch(path.name)
    return match.groups() if match else ("0", "0", "00" * 8)


def take_spool(folder: Path) -> SpoolFiles:
    """Take the first free spool. Raises `SettingsError` if the folder cannot be used, or all spools are in use."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(WORKERS_MAX):
            if taken := take(folder, number):
                return taken
    except OSError as exc:
        raise SettingsError(f"INGEST_DATA_DIR: {folder} cannot be used: {exc.strerror}.") from exc
    raise SettingsError(f"More than {WORKERS_MAX} workers use the data folder {folder}.")


def take(folder: Path, number: int) -> SpoolFiles | None:
    """None if a live process holds it. Raises `OSError`."""
    taken = lock(folder / f"spool-{number}.lock")
    return None if taken is None else SpoolFiles(folder, number, taken)


def take_orphans(folder: Path) -> Iterator[SpoolFiles]:
    """The spools of dead workers. The caller holds each one, and must release it."""
    for number in spools(folder):
        if taken := take(folder, number):
            if number in spools(folder):
                yield taken
            else:
                taken.release()  # another worker has just adopted it


def spools(folder: Path) -> list[int]:
    """The numbers of the spools that are not empty."""
    names = (name for name in _names(folder) if name.endswith((LOG, RETRY)) or _legacy_name.fullmatch(name))
    found = {name.split(".")[0] for name in names}
    return sorted(int(name[6:]) for name in found if name[6:].isdecimal())


def damaged(folder: Path) -> list[Path]:
    """Drained files with unreadable bytes in them, kept for an operator."""
    return [folder / name for name in _names(folder) if name.endswith(DAMAGED) and not _legacy_name.fullmatch(name)]


def legacy(folder: Path) -> list[Path]:
    """Files of older versions that were not read yet."""
    return [folder / name for name in _names(folder) if _legacy_name.fullmatch(name)]


def _names(folder: Path, beginning: str = "spool-") -> list[str]:
    """The names of spools' files, sorted. Listing is a tenth of the work of `Path.glob`."""
    with suppress(FileNotFoundError):
        return sorted(name for name in os.listdir(folder) if name.startswith(beginning))  # noqa: PTH208 - see above
    return []


def is_held(folder: Path, number: int) -> bool:
    """True if a live process holds the spool. Creates no file."""
    return is_locked(folder / f"spool-{number}.lock")

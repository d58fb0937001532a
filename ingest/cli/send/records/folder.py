"""The folder of the records: which are ready to be posted, and where they go afterwards."""

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ingest.cli.send.records.record import is_record
from ingest.files.atomic import replace_file, sync_folder

SENT, REJECTED = "sent", "rejected"
ERROR = ".error"
DATED = re.compile(r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d")
"""A folder that FreeSWITCH makes with `rotate`."""
SAME_NAME_MAX = 1000
"""Records of one name that a folder keeps."""


class Record(NamedTuple):
    path: Path
    found: os.stat_result

    def is_unchanged(self) -> bool:
        """False if another program wrote, replaced or removed the file since it was listed."""
        try:
            now = self.path.lstat()
        except FileNotFoundError:
            return False
        return os.path.samestat(now, self.found) and (now.st_size, now.st_mtime_ns) == (
            self.found.st_size,
            self.found.st_mtime_ns,
        )

    def age_seconds(self, now: float) -> float:
        """Return the time since the last write. A time in the future counts like one in the past."""
        return abs(now - self.found.st_mtime)


class RecordFolder:
    def __init__(self, folder: Path, client: str, *, remove: bool) -> None:
        """`remove` deletes a posted record in place of keeping it."""
        self._folder = folder
        self._client = client
        self._remove = remove

    def records(self) -> list[Record]:
        """Return the records, oldest first. Raises `OSError`."""
        folders = [self._folder, *(one for one in self._folder.iterdir() if DATED.fullmatch(one.name) and one.is_dir())]
        return sorted((one for folder in folders for one in self._in(folder)), key=lambda one: one.found.st_mtime_ns)

    def keep_sent(self, record: Record) -> None:
        """Raises `OSError`."""
        if self._remove:
            record.path.unlink()
        else:
            _move(record.path, self._folder / SENT)

    def keep_rejected(self, record: Record, reason: str) -> None:
        """Write the reason, then move the record: so each record there has its reason. Raises `OSError`."""
        target = _free(record.path, self._folder / REJECTED)
        replace_file(target.with_name(target.name + ERROR), f"{reason}\n".encode())
        record.path.rename(target)
        sync_folder(target.parent)

    def _in(self, folder: Path) -> list[Record]:
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_record(self._client, entry.name):
                    with suppress(FileNotFoundError):
                        record = Record(Path(entry.path), entry.stat(follow_symlinks=False))
                        if stat.S_ISREG(record.found.st_mode):
                            found.append(record)
        return found


def _move(path: Path, folder: Path) -> None:
    path.rename(_free(path, folder))


def _free(path: Path, folder: Path) -> Path:
    """Return a free name in the folder, which is created. Another record of this name stays. Raises `OSError`."""
    folder.mkdir(exist_ok=True)
    for number in range(SAME_NAME_MAX):
        target = folder / (f"{path.name}.{number}" if number else path.name)
        if not target.exists():
            return target
    raise FileExistsError(f"{folder} has {SAME_NAME_MAX} records named {path.name}")

"""The folder of archives, with the evidence that it is the same one as before.

An archive folder is often a mounted disk. While that is not mounted, its path leads to an empty folder of another disk.
So the folder has a mark, and each node remembers the mark in its data folder.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ingest.files.atomic import replace_file, sync_folder
from ingest.files.locks import LOCKLESS, lock
from ingest.retention.archive.draft import BEGIN, Draft
from ingest.retention.archive.manifest import (
    NAME,
    ArchiveFailed,
    Manifest,
    data_name,
    day_and_part,
    manifest_of,
    manifests,
    read_manifest,
)

MARK_FILE, LOCK_FILE = ".mark", ".lock"
MARK_BYTES = 16
FREE_BYTES_MIN = 64 << 20
"""Free space that an archive must leave on its disk."""
PARTS_MAX = 10_000
FOLDER_MODE = 0o700
SETTING = "INGEST_RETENTION_ARCHIVE"


class Remembered(msgspec.Struct, frozen=True):
    """The folder that this node used last, and its mark."""

    path: str
    mark: str


class ArchiveFolder:
    """`top` is the user's folder, which must exist. The archives are in a folder of their own in it.

    `memory` is a file of this node. Every method blocks, and raises `OSError` and `ArchiveFailed`.
    """

    def __init__(self, top: Path, memory: Path) -> None:
        self.path = top / NAME
        self._top = top
        self._memory = memory

    def check(self, bytes_expected: int = 0) -> None:
        """Make sure that an archive may be written here: the folder is the one of yesterday, and has room."""
        if not self._top.is_dir():
            raise ArchiveFailed(f"{SETTING}: there is no folder {self._top}. No event was dropped: mount or make it.")
        self.check_mark()
        self._make_mark()
        disk = os.statvfs(self.path)
        free, needed = disk.f_bavail * disk.f_frsize, FREE_BYTES_MIN + bytes_expected
        if free < needed:
            raise ArchiveFailed(
                f"{self._top} has {free} bytes free, and an archive needs {needed}. No event was dropped: make room."
            )

    def begin_anew(self) -> None:
        """Forget the mark, because the user has chosen a new folder at the same path."""
        self._memory.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder among all processes that write to it, and remove the drafts of killed ones."""
        try:
            held = lock(self.path / LOCK_FILE)
        except OSError as exc:
            if exc.errno not in LOCKLESS:
                raise
            yield  # the database's own lock keeps other nodes away; their drafts stay
            return
        if held is None:
            raise ArchiveFailed(f"Another process writes to {self.path}. No event was dropped; the next check retries.")
        try:
            for draft in self.path.glob(f"{BEGIN}*"):
                draft.unlink(missing_ok=True)
            yield
        finally:
            held.release()

    def draft(self) -> Draft:
        return Draft(self.path)

    def parts(self, day: str) -> list[Path]:
        """The archives of a day, with or without a manifest, in their order."""
        paths = [path for path in self.path.iterdir() if (key := day_and_part(path.name)) and key[0] == day]
        return sorted(paths, key=lambda path: day_and_part(path.name) or ("", 0))

    def publish(self, draft: Path, day: str) -> Path:
        """Give a proven draft the next free name of its day. It replaces no file. Return the name."""
        parts = [day_and_part(path.name) or (day, 0) for path in self.parts(day)]
        for part in range(max((number for _, number in parts), default=0) + 1, PARTS_MAX):
            path = self.path / data_name(day, part)
            if _rename_to_new(draft, path):
                sync_folder(self.path)
                return path
        raise ArchiveFailed(f"{self.path} has {PARTS_MAX} archives of {day}. No event was dropped.")

    def describe(self, data: Path, manifest: Manifest) -> None:
        """Write the manifest beside its file, durably."""
        replace_file(manifest_of(data), msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")

    def archives(self) -> Iterator[tuple[Path, Manifest]]:
        """Yield all archives by day and part. A folder that does not exist yet has none. Raises `ArchiveDamaged`."""
        with suppress(FileNotFoundError):
            yield from manifests(self.path)

    def remove(self, data: Path) -> None:
        """Delete an archive and its manifest, durably."""
        data.unlink(missing_ok=True)
        sync_folder(self.path)
        manifest_of(data).unlink(missing_ok=True)
        sync_folder(self.path)

    def manifest(self, data: Path) -> Manifest | None:
        with suppress(FileNotFoundError):
            return read_manifest(manifest_of(data))
        return None

    def check_mark(self) -> None:
        """Raises `ArchiveFailed` if this is not the folder of the last time. Writes nothing."""
        known, mark = self._remembered(), self._mark()
        if known and known.path == str(self._top.absolute()) and known.mark != mark:
            found = "another mark" if mark else "no mark"
            raise ArchiveFailed(
                f"{self._top} is not the archive folder of the last time: it has {found}. Is its disk mounted? No "
                "event was dropped. If you chose a new folder, run `ingest retention --new-archive` once."
            )

    def _make_mark(self) -> None:
        known, mark = self._remembered(), self._mark()
        if not mark:
            mark = secrets.token_hex(MARK_BYTES)
            self.path.mkdir(FOLDER_MODE, exist_ok=True)
            sync_folder(self._top)
            replace_file(self.path / MARK_FILE, mark.encode())
        if not known or known.mark != mark or known.path != str(self._top.absolute()):
            replace_file(self._memory, msgspec.json.encode(Remembered(str(self._top.absolute()), mark)))

    def _mark(self) -> str:
        with suppress(FileNotFoundError):
            return (self.path / MARK_FILE).read_text("utf-8").strip()
        return ""

    def _remembered(self) -> Remembered | None:
        try:
            return msgspec.json.decode(self._memory.read_bytes(), type=Remembered)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as exc:
            raise ArchiveFailed(f"{self._memory} is damaged: {exc}. No event was dropped: delete that file.") from exc


def _rename_to_new(draft: Path, path: Path) -> bool:
    """Return False if another file has the name. A link replaces none; some file systems have no links."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if path.exists():
            return False
        draft.rename(path)
        return True
    draft.unlink()
    return True

"""Finds the earlier files of a followed FILE in its folder: by inode, by content, and by the names of rotated files."""

import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ingest.cli.send.follow.mark import FileMark

SAFELY = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""A pipe does not block the open."""
NUMBERED = r"[0-9][0-9TZ:._~-]*"
"""A rotated file's number or date."""
COMPRESSED = r"\.(?:gz|bz2|xz|zst|lz4|Z)"

Identity = tuple[int, int]
"""Device and inode."""


class Listed(NamedTuple):
    """A file in the folder, at the time of the listing. Another file may have its name a moment later."""

    path: Path
    found: os.stat_result

    @property
    def identity(self) -> Identity:
        return self.found.st_dev, self.found.st_ino


class Folder:
    """The folder of FILE. If FILE is a symbolic link, the folder of its target counts as well."""

    def __init__(self, file: Path) -> None:
        self._file = file
        stem, suffix = re.escape(file.stem), re.escape(file.suffix)
        names = rf"(?:{re.escape(file.name)}(?:[-._~]?{NUMBERED}|\.old)|{stem}[-._]{NUMBERED}{suffix})"
        self._rotated = re.compile(names)
        self._compressed = re.compile(names + COMPRESSED)

    def rotated(self, since_ns: int) -> list[Listed]:
        """Return files with content and the name of a rotated one, written at `since_ns` or later, oldest first."""
        return self._named(self._rotated, since_ns)

    def compressed(self, since_ns: int) -> list[Listed]:
        return self._named(self._compressed, since_ns)

    def open_file(self) -> int | None:
        """Open FILE. Return None if it does not exist at the moment. Raises `OSError`."""
        return open_regular(self._file)

    def files(self) -> list[Listed]:
        """Return all regular files. Raises `OSError`."""
        return list(self._listed())

    def search(self, mark: FileMark, taken: Collection[Identity], files: Sequence[Listed]) -> int | None:
        """Open the file of the mark, or a copy of it; None if none of the files is one. Raises `OSError`.

        The file itself may be cut.
        """
        for one in self._candidates(mark, files):
            if one.identity not in taken and (descriptor := open_listed(one)) is not None:
                if mark.fits(descriptor) or mark.is_cut(descriptor):
                    return descriptor
                os.close(descriptor)
        return None

    def _candidates(self, mark: FileMark, files: Sequence[Listed]) -> Iterator[Listed]:
        """Yield files with the inode of the mark, then others, whose content may fit."""
        yield from (one for one in files if mark.is_of(one.found) and (mark.head_bytes or self._is_own(one.path)))
        if mark.head_bytes:
            size_min = max(mark.offset, mark.head_bytes)
            yield from (one for one in files if one.found.st_size >= size_min and not mark.is_of(one.found))

    def _is_own(self, path: Path) -> bool:
        return path.name == self._file.name or bool(self._rotated.fullmatch(path.name))

    def _named(self, pattern: re.Pattern[str], since_ns: int) -> list[Listed]:
        listed = [one for one in self._listed(pattern) if one.found.st_size and one.found.st_mtime_ns >= since_ns]
        return sorted(listed, key=lambda one: one.found.st_mtime_ns)

    def _listed(self, pattern: re.Pattern[str] | None = None) -> Iterator[Listed]:
        """Yield the regular files. Raises `OSError`."""
        for folder in {self._file.parent.resolve(), self._file.resolve().parent}:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if pattern and not pattern.fullmatch(entry.name):
                        continue
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if stat.S_ISREG(found.st_mode):
                        yield Listed(Path(entry.path), found)


def open_regular(path: Path) -> int | None:
    """Return None if the path does not exist, or is no regular file. Raises `OSError`."""
    try:
        descriptor = os.open(path, SAFELY)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def open_listed(listed: Listed) -> int | None:
    """Return None if the path is another file by now, as during a rotation. Raises `OSError`."""
    descriptor = open_regular(listed.path)
    if descriptor is not None and identity_of(descriptor) != listed.identity:
        os.close(descriptor)
        return None
    return descriptor


def identity_of(descriptor: int) -> Identity:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino

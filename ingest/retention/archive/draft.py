"""A new archive under a temporary name, until it is proven and gets its own name."""

import hashlib
import os
import secrets
from pathlib import Path
from typing import BinaryIO

from zstandard import ZstdCompressor

from ingest.retention.archive.manifest import ArchiveFailed, Manifest
from ingest.retention.archive.reader import Content, read_content

LEVEL = 3
"""Zstandard's default: call events shrink to a tenth."""
BEGIN, END = ".draft-", ".zst"
MODE = 0o600


class Draft:
    """Lines are added in the order of their ids. Every method blocks, and raises `OSError`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{BEGIN}{secrets.token_hex(8)}{END}"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
        self._file: BinaryIO = os.fdopen(descriptor, "wb")
        self._zstandard = ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        self._sha256 = hashlib.sha256()
        self._bytes = 0
        self.events = 0
        self.first_id = self.last_id = self.ids_xor = 0

    def add(self, ids: list[int], lines: list[bytes]) -> None:
        """`lines` has a line for each id."""
        if not ids:
            return
        self.first_id = self.first_id if self.events else ids[0]
        self.last_id = ids[-1]
        for event_id in ids:
            self.ids_xor ^= event_id
        self.events += len(ids)
        content = b"".join(lines)
        self._sha256.update(content)
        self._bytes += len(content)
        self._file.write(self._zstandard.compress(content))

    def prove(self) -> Content:
        """Bring the file to the disk, and read it back. Raises `ArchiveFailed` if it has not what was written."""
        self._file.write(self._zstandard.flush())
        self._file.flush()
        os.fsync(self._file.fileno())
        # The pages leave the memory, so that the disk itself is read.
        os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self._file.close()
        found = read_content(self.path)
        written = (self.events, self._bytes, self._sha256.hexdigest())
        if (found.events, found.content_bytes, found.content_sha256) != written:
            raise ArchiveFailed(
                f"{self.path.parent}: a file that was written there reads back differently: {found.events} events "
                f"instead of {self.events}. No event was dropped: check that disk."
            )
        return found

    def manifest(self, data: Path, day: str, written_time: str) -> Manifest:
        """Describe the file `data`, which has the draft's lines. Raises `ArchiveFailed` if it has others by now."""
        found = read_content(data)
        if found.content_sha256 != self._sha256.hexdigest():
            raise ArchiveFailed(f"{data} has changed since it was written. No event was dropped.")
        return Manifest(
            file=data.name,
            day=day,
            events=found.events,
            first_id=str(self.first_id),
            last_id=str(self.last_id),
            ids_xor=str(self.ids_xor),
            bytes=found.bytes,
            sha256=found.sha256,
            content_bytes=found.content_bytes,
            content_sha256=found.content_sha256,
            written_time=written_time,
        )

    def discard(self) -> None:
        """Delete the draft, if it has not got its own name. Safe to call twice."""
        self._file.close()
        self.path.unlink(missing_ok=True)

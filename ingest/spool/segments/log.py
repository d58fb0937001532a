"""The segment log: appends entries to segments, reads them, and deletes segments that are no longer needed.

One thread only may use it. Segments are deleted in order: a mark is about older entries, so it must outlive them.
"""

import logging
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ingest.files.atomic import replace_file, sync_folder
from ingest.spool.files import DAMAGED, SpoolFiles, mark_of, number_of
from ingest.spool.records import Place
from ingest.spool.segments.format import (
    ENTRY_BYTES,
    HEAD_BYTES,
    MARK_BYTES,
    SYNCED_OFFSET,
    entry_of,
    head_of,
    read_at,
    synced_of,
)

log = logging.getLogger("ingest.spool")

NewEntry = tuple[int, int, int, bytes]
"""Kind, first id, number of events, content."""


class Segment:
    """An open segment. `live` counts its entries that are still needed, `gaps` the damaged places found in it."""

    def __init__(self, number: int, path: Path, *, loading: bool = False, writable: bool = True) -> None:
        self.number = number
        self.path = path
        self.mark = mark_of(path)
        self.live = 0
        self.gaps = 0
        self.loading = loading
        self.descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        self.end = os.lseek(self.descriptor, 0, os.SEEK_END)

    @property
    def intact(self) -> bool:
        """False if the file was deleted, moved or replaced."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read(self, place: Place) -> bytes:
        return read_at(self.descriptor, place.offset, place.size)

    def close(self) -> None:
        os.close(self.descriptor)


class SegmentLog:
    """All methods raise `OSError`."""

    def __init__(self, files: SpoolFiles, segment_bytes: int) -> None:
        self.files = files
        self._segment_bytes = segment_bytes
        self._segments: dict[int, Segment] = {}
        self._active: Segment | None = None
        self._next = files.next_number()

    @property
    def size(self) -> int:
        """The size of all files, in bytes."""
        return sum(segment.end for segment in self._segments.values())

    @property
    def used(self) -> bool:
        """True if there is a segment. Any thread may ask."""
        return bool(self._segments)

    @property
    def segments(self) -> list[Segment]:
        """Oldest first."""
        return [self._segments[number] for number in sorted(self._segments)]

    def append(self, entries: Sequence[NewEntry], *, sync: bool) -> list[Place]:
        """Return the places of the contents. With `sync` they are on the disk. An error keeps no entry."""
        segment = self._active = self._active or self._begin()
        end, places, parts = segment.end, [], []
        for kind, first_id, count, content in entries:
            parts.append(entry_of(segment.mark, kind, first_id, count, content))
            places.append(Place(segment.number, end + ENTRY_BYTES, len(content)))
            end += len(parts[-1])
        try:
            _write(segment.descriptor, b"".join(parts), segment.end)
            if sync:
                _sync(segment, end)
        except BaseException:
            self._abandon(segment)
            raise
        segment.end = end
        if end >= self._segment_bytes:
            self.roll()
        return places

    def roll(self) -> None:
        """Let the next entry begin a new segment. If the sync fails, marks may be lost; that only repeats work."""
        if self._active:
            with suppress(OSError):
                _sync(self._active, self._active.end)
            self._active = None

    def read(self, place: Place) -> bytes:
        """Bytes that the disk cannot read are zeros."""
        return self._segments[place.segment].read(place)

    def count(self, segment: int, change: int) -> None:
        """Change the number of a segment's entries that are still needed."""
        self._segments[segment].live += change

    def open(self, paths: Sequence[Path]) -> list[Segment]:
        """Open these files as segments. Another spool's files become the newest; `place` gives them their new names."""
        self.roll()
        opened = []
        for path in paths:
            own = path.name.startswith(f"spool-{self.files.number}.") and number_of(path) not in self._segments
            number = number_of(path) if own else self._next
            try:
                opened.append(Segment(number, path, loading=True))
            except OSError as exc:
                log.error("a file of the spool cannot be read; it stays", extra={"file": path.name, "reason": str(exc)})
                continue
            self._segments[number] = opened[-1]
            self._next = max(self._next, number + 1)
        return opened

    def place(self, segments: Sequence[Segment]) -> None:
        """Rename segments of another spool to names of this one."""
        for segment in segments:
            segment.loading = False
            segment.path = segment.path.rename(self.files.path_of(segment.number, segment.mark))
        sync_folder(self.files.folder)

    def drop(self) -> list[Path]:
        """Delete the oldest segments, as far as nothing in them is needed. Return damaged ones, which are renamed."""
        kept = []
        for segment in self.segments:
            if segment.live or segment.loading:
                break
            if segment is self._active:
                self._active = None
            kept += self._forget(segment)
        return kept

    def _forget(self, segment: Segment) -> list[Path]:
        del self._segments[segment.number]
        path, intact = segment.path, segment.intact
        segment.close()
        if not intact:
            return []
        if segment.gaps:
            return [path.rename(path.with_suffix(DAMAGED))]
        path.unlink()
        return []

    def close(self) -> None:
        self.roll()
        for segment in self.segments:
            segment.close()
        self._segments.clear()

    def _begin(self) -> Segment:
        mark = secrets.token_bytes(MARK_BYTES)
        path = self.files.path_of(self._next, mark)
        replace_file(path, head_of(mark))
        segment = self._segments[self._next] = Segment(self._next, path)
        self._next += 1
        return segment

    def _abandon(self, segment: Segment) -> None:
        """After a failed write or sync the file's end may hold anything: the kernel drops pages it cannot write."""
        self._active = None
        with suppress(OSError):
            os.ftruncate(segment.descriptor, segment.end)
        if segment.end == HEAD_BYTES:
            with suppress(OSError):
                self._forget(segment)


def _sync(segment: Segment, end: int) -> None:
    os.fdatasync(segment.descriptor)
    _write(segment.descriptor, synced_of(end), SYNCED_OFFSET)


def _write(descriptor: int, content: bytes, offset: int) -> None:
    written = os.pwrite(descriptor, content, offset)
    if written < len(content):
        _write(descriptor, content[written:], offset + written)

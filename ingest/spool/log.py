"""Appends entries to segments, reads them, and deletes segments that nothing in is needed of any more.

Of one thread. Segments go in their order: marks are about what is older, so none of them goes before that.
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
from ingest.spool.segment import (
    ENTRY_BYTES,
    HEAD_BYTES,
    MARK_BYTES,
    SYNCED_PLACE,
    entry_of,
    head_of,
    read_at,
    synced_of,
)

log = logging.getLogger("ingest.spool")

NewEntry = tuple[int, int, int, bytes]
"""Kind, first id, count, content."""


class Segment:
    """An open segment; `live` counts what is still needed of it, `gaps` the damage found in it."""

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
        """Bytes of the files."""
        return sum(segment.end for segment in self._segments.values())

    @property
    def segments(self) -> list[Segment]:
        """Oldest first."""
        return [self._segments[number] for number in sorted(self._segments)]

    def append(self, entries: Sequence[NewEntry], *, sync: bool) -> list[Place]:
        """Where their contents are; on the disk by now, if `sync`. After an error nothing of them is kept."""
        segment = self._active = self._active or self._begin()
        place, places, parts = segment.end, [], []
        for kind, first_id, count, content in entries:
            parts.append(entry_of(segment.mark, kind, first_id, count, content))
            places.append(Place(segment.number, place + ENTRY_BYTES, len(content)))
            place += len(parts[-1])
        try:
            _write(segment.descriptor, b"".join(parts), segment.end)
            if sync:
                os.fdatasync(segment.descriptor)
                _write(segment.descriptor, synced_of(place), SYNCED_PLACE)
        except BaseException:
            self._abandon(segment)
            raise
        segment.end = place
        if place >= self._segment_bytes:
            self.roll()
        return places

    def roll(self) -> None:
        """The next entry begins a segment. Marks that are not on the disk by then may be lost, and are told again."""
        if self._active:
            with suppress(OSError):
                os.fdatasync(self._active.descriptor)
                _write(self._active.descriptor, synced_of(self._active.end), SYNCED_PLACE)
            self._active = None

    def read(self, place: Place) -> bytes:
        """Zeros where the disk cannot."""
        return read_at(self._segments[place.segment].descriptor, place.place, place.size)

    def count(self, segment: int, change: int) -> None:
        """Of what is needed of a segment."""
        self._segments[segment].live += change

    def open(self, paths: Sequence[Path]) -> list[Segment]:
        """Take these in. Another spool's become the newest ones; they keep their names until `place`."""
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
        """Give them names of this spool, if they have others."""
        for segment in segments:
            segment.loading = False
            segment.path = segment.path.rename(self.files.path_of(segment.number, segment.mark))
        sync_folder(self.files.folder)

    def drop(self) -> list[Path]:
        """Delete the oldest segments, as far as nothing of them is needed; damaged ones are kept under another name,
        which are returned."""
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
        """What a failed write or sync has left may be anything: the kernel forgets what it could not write."""
        self._active = None
        with suppress(OSError):
            os.ftruncate(segment.descriptor, segment.end)
        if segment.end == HEAD_BYTES:
            with suppress(OSError):
                self._forget(segment)


def _write(descriptor: int, content: bytes, place: int) -> None:
    written = os.pwrite(descriptor, content, place)
    if written < len(content):
        _write(descriptor, content[written:], place + written)

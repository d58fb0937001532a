"""Looks after the spool's files: bounds, free disk, deleted files, and room that can be given back."""

import errno
import logging
import os
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from ingest.clock import Monotonic
from ingest.errors import SpoolFull
from ingest.files.lock_watch import TOUCH_SECONDS
from ingest.spool.files import damaged, take_spool
from ingest.spool.records import SpoolLimits, Usage
from ingest.spool.segments.journal import Journal
from ingest.spool.segments.log import Segment

log = logging.getLogger("ingest.spool")

COPIED_RECORDS = 64
"""Records copied at a time, out of a segment in which little is still needed."""
SHOWN_SECONDS = 300.0
"""`/readyz` shows for this time that files were deleted."""


class Upkeep:
    """Runs in the journal's thread, which alone may replace the spool's lock. All methods raise `OSError`."""

    def __init__(self, journal: Journal, limits: SpoolLimits, monotonic: Monotonic) -> None:
        self._journal = journal
        self._log = journal.log
        self._limits = limits
        self._monotonic = monotonic
        self.problem: str | None = None
        """A problem of the files, as `check_files` has found it. Any thread may ask."""
        self._lost: str | None = None
        self._lost_until = self._touch_at = 0.0

    def usage(self) -> Usage:
        return msgspec.structs.replace(self._journal.index.usage, file_bytes=self._log.size)

    def check_room(self, size: int = 0) -> None:
        """Raises `SpoolFull` if `size` more bytes do not fit."""
        if max(self._journal.index.usage.bytes, self._log.size) + size > self._limits.bytes_max:
            raise SpoolFull(f"The spool is full ({self._limits.bytes_max} bytes); retry later.")
        folder = self._log.files.folder
        if not folder.is_dir():
            self._restore(self._log.segments)
        disk = os.statvfs(folder)
        if disk.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, "the disk is read-only", str(folder))
        if disk.f_bavail * disk.f_frsize < self._limits.free_bytes_min + size:
            raise SpoolFull(f"The disk has less than {self._limits.free_bytes_min} bytes free; retry later.")

    def check_ends(self) -> None:
        """Make sure that the oldest and the newest segment are still in their place. Each commit calls it.

        A replaced folder may already hold the newest segment, but never the oldest one.
        """
        self._restore([*self._log.segments[:1], *self._log.segments[-1:]])

    def check_files(self) -> None:
        """Look whether all files are still in their place, and set `problem`."""
        self._restore(self._log.segments)
        if self._monotonic() >= self._touch_at:
            os.utime(self._log.files.lock.descriptor)
            self._touch_at = self._monotonic() + TOUCH_SECONDS
        self.problem = self._lost if self._monotonic() < self._lost_until else None
        if kept := damaged(self._log.files.folder):
            self.problem = f"{len(kept)} files hold damage: see `ingest spool verify`"

    def give_room_back(self) -> None:
        """Free the memory of an empty index, and the disk space of files in which little is still needed."""
        index = self._journal.index
        if index.used and not index.usage.records:
            index.forget_keys()
        self._journal.drop()
        if self._log.size > 2 * (index.usage.bytes + self._limits.segment_bytes):
            with suppress(OSError):  # a full disk: the next round tries again
                self._copy(self._log.segments[0])

    def _restore(self, segments: Sequence[Segment]) -> None:
        """Write the spool anew if its lock or one of these segments was deleted or moved: a crash would lose them."""
        files = self._log.files
        if files.lock.intact and all(segment.intact for segment in segments):
            return
        lost = [segment for segment in self._log.segments if not segment.intact]
        self._report(lost)
        if not files.lock.intact and not files.lock.renew():
            self._log.files = files = take_spool(files.folder)
            self._log.place([segment for segment in self._log.segments if segment.intact and not segment.loading])
        files.folder.mkdir(parents=True, exist_ok=True)
        for segment in self._log.segments:  # the marks of a lost segment are about older ones, and are lost too
            while segment.live and lost and segment.number <= lost[-1].number:
                self._copy(segment)
        self._journal.drop()

    def _report(self, lost: Sequence[Segment]) -> None:
        self._lost = "files of the spool were deleted or moved while in use"
        self._lost_until = self._monotonic() + SHOWN_SECONDS
        names = [segment.path.name for segment in lost]
        log.error(self._lost, extra={"files": names, "kept": "all, written anew"})

    def _copy(self, segment: Segment) -> None:
        if segment is self._log.segments[-1]:
            self._log.roll()
        self._journal.copy(segment, COPIED_RECORDS)

"""The spool's state: segments on the disk, and the index of what waits in them. Of one thread, which may wait."""

import errno
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ingest.clock import NowUs
from ingest.errors import IdsTaken, SpoolFull
from ingest.events.batch import Batch, unpack_one
from ingest.spool.files import SpoolFiles, damaged, take_spool
from ingest.spool.index import Index, RefusedRow, Row
from ingest.spool.loading import TAKEN, Loader
from ingest.spool.log import NewEntry, Segment, SegmentLog
from ingest.spool.records import Place, Record, Refused, SpoolLimits, Usage
from ingest.spool.segment import KEYED, Kind, aside_content, ids_content

log = logging.getLogger("ingest.spool")

CARRIED_RECORDS = 64
"""Copied at a time, out of a segment in which little is left."""
TOLD_SECONDS = 300.0
"""`/readyz` tells for so long of files that were deleted."""


class Journal:
    """All methods raise `OSError`."""

    def __init__(self, files: SpoolFiles, limits: SpoolLimits, now_us: NowUs) -> None:
        self._limits = limits
        self._now_us = now_us
        self._log = SegmentLog(files, limits.segment_bytes)
        self.index = Index(self._log.count)
        self._trouble: str | None = None
        self._trouble_until_us = 0
        self.damages = 0
        """Places in which something could not be read, so far."""

    @property
    def files(self) -> SpoolFiles:
        return self._log.files

    def loader(self, paths: Sequence[Path]) -> Loader:
        """Of these segments: its steps are to be done, then `loaded`."""
        return Loader(self.index, self._log.read, self._log.open(paths))

    def loaded(self, loader: Loader) -> None:
        for one in loader.conflicts:
            self.set_aside(Refused(one.first_id, one.events, TAKEN, self._log.read(one.place)))
        self._log.place(loader.segments)
        self.damages += len(loader.damage)
        if loader.damage:
            kept = "all that is whole is used, and the files stay: see `ingest spool verify`"
            log.error("the spool's files are damaged", extra={"damage": loader.damage[:20], "kept": kept})
        self.drop()

    def close(self) -> None:
        with suppress(OSError):
            self.drop()
        self._log.close()
        self.index.close()
        self.files.release()

    def commit(self, batch: Batch, record: Record, settled: Sequence[int]) -> None:
        self.check_room(record.bytes)
        if self.has(record):
            return
        if self.index.find(record.first_id):
            raise IdsTaken(batch.slot)

        def write() -> None:
            if batch.has_keys:
                self.index.keep_keys(batch)
            self.add([record], settled, keyed=batch.has_keys)

        self.index.transact(write)
        self.keep_place(self._log.segments[-1:])

    def has(self, record: Record) -> bool:
        held = self.index.find(record.first_id)
        if held is None:
            return False
        kept = self._log.read(Place(*held[3:]))
        return kept == record.batch or unpack_one(kept) == record.unpacked()

    def add(self, records: Sequence[Record], settled: Sequence[int] = (), *, keyed: bool = True) -> None:
        entries = [_entry(record, keyed) for record in records]
        if settled:
            entries.append((Kind.SETTLED, 0, 0, ids_content(settled)))
        places = self._log.append(entries, sync=True)
        for record, place in zip(records, places, strict=False):
            self.index.add(record.first_id, record.count, record.lease_until, place)
        self.index.settle(settled)

    def add_new(self, records: Sequence[Record]) -> None:
        """Those that are not here yet; one whose ids others have is set aside."""
        new = [record for record in records if not self.has(record)]
        for record in new:
            if self.index.find(record.first_id):
                self.set_aside(Refused(record.first_id, record.count, TAKEN, record.batch))
        if new := [record for record in new if not self.index.find(record.first_id)]:
            self.add(new)

    def settle(self, first_ids: Sequence[int]) -> None:
        self.mark(Kind.SETTLED, [first_id for first_id in first_ids if self.index.find(first_id)])
        self.index.settle(first_ids)

    def refuse(self, refused: Refused) -> None:
        """It goes from what waits, if that is all of a record."""
        self.set_aside(refused)
        held = self.index.find(refused.first_id)
        if held and self._log.read(Place(*held[3:])) == refused.batch:
            self.remove([refused.first_id])

    def mark(self, kind: Kind, first_ids: Sequence[int]) -> None:
        """One that is lost means a repeat, which the ids make harmless: so nobody waits for the disk."""
        if first_ids:
            with suppress(OSError):
                self._log.append([(kind, 0, 0, ids_content(first_ids))], sync=False)

    def remove(self, first_ids: Sequence[int]) -> None:
        removed = [first_id for first_id in first_ids if self.index.remove(first_id)]
        self.drop()
        if self._log.segments:
            self.mark(Kind.REMOVED, removed)

    def drop(self) -> None:
        for path in self._log.drop():
            log.error("a damaged file of the spool is kept", extra={"file": path.name, "do": "delete it when done"})

    def set_aside(self, refused: Refused) -> None:
        content = aside_content(refused.reason, refused.batch)
        (place,) = self._log.append([(Kind.ASIDE, refused.first_id, refused.count, content)], sync=True)
        self.index.refuse(refused.first_id, refused.count, refused.reason, _tail(place, len(refused.batch)))

    def retry(self, first_ids: Sequence[int]) -> int:
        events = 0
        for row in self.index.refused():
            if (first_ids and row[0] not in first_ids) or self.index.find(row[0]):
                continue
            self.add([Record(row[0], row[1], None, self._log.read(Place(*row[3:])))])
            self.mark(Kind.RETRIED, [row[0]])
            self.index.remove_refused(row)
            events += row[1]
        return events

    def usage(self) -> Usage:
        return msgspec.structs.replace(self.index.usage, file_bytes=self._log.size)

    def check_room(self, size: int) -> None:
        if max(self.index.usage.bytes, self._log.size) + size > self._limits.bytes_max:
            raise SpoolFull(f"The spool is full ({self._limits.bytes_max} bytes); retry later.")
        if not self.files.folder.is_dir():
            self.keep_place(self._log.segments)
        disk = os.statvfs(self.files.folder)
        if disk.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, "the disk is read-only", str(self.files.folder))
        if disk.f_bavail * disk.f_frsize < self._limits.free_bytes_min + size:
            raise SpoolFull(f"The disk has less than {self._limits.free_bytes_min} bytes free; retry later.")

    def keep_place(self, segments: Sequence[Segment]) -> None:
        """A lock or segment that was deleted or moved is no use after a crash: what is open is written anew."""
        lost = [segment for segment in segments if not segment.intact]
        if self.files.lock.intact and not lost:
            return
        said = "files of the spool were deleted or moved while in use"
        log.error(said, extra={"files": [segment.path.name for segment in lost], "kept": "all, written anew"})
        self._trouble, self._trouble_until_us = said, self._now_us() + int(TOLD_SECONDS * 1e6)
        if not self.files.lock.intact and not self.files.lock.renew():
            self._log.files = take_spool(self.files.folder)
            self._log.place([segment for segment in self._log.segments if segment.intact and not segment.loading])
        self.files.folder.mkdir(parents=True, exist_ok=True)
        for segment in self._log.segments:  # what a lost one says of older ones is lost, too
            while segment.live and lost and segment.number <= lost[-1].number:
                self.carry(segment)
        self.drop()

    def carry(self, segment: Segment) -> None:
        """Copy some of what is needed of a segment to the newest one."""
        if segment is self._log.segments[-1]:
            self._log.roll()
        rows = self.index.of_segment(segment.number, CARRIED_RECORDS)
        if rows:
            places = self._log.append([_entry(record, True) for record in self.records(rows)], sync=True)
            for row, place in zip(rows, places, strict=True):
                self.index.move(row, place)
        for aside in self.index.refused():
            if aside[3] == segment.number:
                self.set_aside(self.refused(aside))
                self.index.remove_refused(aside)
        self.drop()

    def records(self, rows: Sequence[Row]) -> list[Record]:
        return [Record(*row[:3], self._log.read(Place(*row[3:]))) for row in rows]

    def refused(self, row: RefusedRow) -> Refused:
        return Refused(*row[:3], self._log.read(Place(*row[3:])))

    def check_files(self) -> str | None:
        """Look whether all files are where they were; what people should know of them."""
        self.keep_place(self._log.segments)
        if kept := damaged(self.files.folder):
            return f"{len(kept)} files hold damage: see `ingest spool verify`"
        return self._trouble if self._now_us() < self._trouble_until_us else None

    def tidy(self) -> None:
        """Give room back: of an empty spool, and of files that hold little that is still needed."""
        if not self.index.usage.records:
            self.index.forget_keys()
        self.drop()
        if self._log.size > 2 * (self.index.usage.bytes + self._limits.segment_bytes):
            with suppress(OSError):  # a full disk: later, then
                self.carry(self._log.segments[0])


def _entry(record: Record, keyed: bool) -> NewEntry:
    """`keyed`: whether an event may have a key."""
    kind = int(Kind.PUBLISHED if record.lease_until is None else Kind.WAITING)
    if keyed and (batch := record.unpacked()) and batch.has_keys:
        kind |= KEYED
    return kind, record.first_id, record.count, record.batch


def _tail(place: Place, size: int) -> Place:
    return Place(place.segment, place.place + place.size - size, size)

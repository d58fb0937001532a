"""The spool's records: appended to segments on the disk, found by an index in memory."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ingest.errors import IdsTaken
from ingest.events.batch import Batch
from ingest.events.batch_codec import NEWER, unpack_one
from ingest.spool.files import SpoolFiles
from ingest.spool.records import FREE, Record, Refused
from ingest.spool.segments.format import KEYED, Kind, aside_content, ids_content
from ingest.spool.segments.index import Index, RefusedRow, Row
from ingest.spool.segments.loading import TAKEN, Loader
from ingest.spool.segments.log import NewEntry, Segment, SegmentLog

log = logging.getLogger("ingest.spool")


class Journal:
    """One thread only may use it, as each method may wait for the disk. All methods raise `OSError`."""

    def __init__(self, files: SpoolFiles, segment_bytes: int) -> None:
        self.log = SegmentLog(files, segment_bytes)
        self.index = Index(self.log.count)
        self.damages = 0
        """The number of damaged places found so far."""

    @property
    def empty(self) -> bool:
        """True if there is nothing to publish, to drain or to clean up. Any thread may ask."""
        return not (self.log.used or self.index.used)

    def loader(self, paths: Sequence[Path]) -> Loader:
        """A loader of these segments. The caller runs its steps to the end, then calls `loaded`."""
        return Loader(self.index, self.log.read, self.log.open(paths))

    def loaded(self, loader: Loader) -> None:
        for row in loader.conflicts:
            self.set_aside(Refused(row.first_id, row.events, TAKEN, self.log.read(row.place)))
        self.log.place(loader.segments)
        self.damages += len(loader.damage)
        if loader.damage:
            kept = "all that is whole is used, and the files stay: see `ingest spool verify`"
            log.error("the spool's files are damaged", extra={"damage": loader.damage[:20], "kept": kept})
        self.drop()

    def close(self) -> None:
        with suppress(OSError):
            self.drop()
        self.log.close()
        self.index.close()
        self.log.files.release()

    def commit(self, batch: Batch, record: Record, settled: Sequence[int]) -> None:
        if self.has(record):
            return
        if self.index.find(record.first_id):
            raise IdsTaken(batch.slot)

        def write() -> None:
            if batch.has_keys:
                self.index.keep_keys(batch)
            self.add([record], settled, keyed=batch.has_keys)

        self.index.transact(write)

    def has(self, record: Record) -> bool:
        row = self.index.find(record.first_id)
        if row is None:
            return False
        kept = self.log.read(row.place)
        return kept == record.batch or ((batch := unpack_one(kept)) is not None and batch == record.unpacked())

    def add(self, records: Sequence[Record], settled: Sequence[int] = (), *, keyed: bool = True) -> None:
        entries = [_entry(record, keyed) for record in records]
        if settled:
            entries.append((Kind.SETTLED, 0, 0, ids_content(settled)))
        places = self.log.append(entries, sync=True)
        for record, place in zip(records, places, strict=False):
            self.index.add(Row(record.first_id, record.count, record.lease_until, place))
        self.index.settle(settled)

    def add_new(self, records: Sequence[Record]) -> None:
        """Add the records that are not here yet. A record with the ids of other events is set aside."""
        new = []
        for record in records:
            if self.index.find(record.first_id) is None:
                new.append(record)
            elif not self.has(record):
                self.set_aside(Refused(record.first_id, record.count, TAKEN, record.batch))
        if new:
            self.add(new)

    def settle(self, first_ids: Sequence[int]) -> None:
        self.mark(Kind.SETTLED, [first_id for first_id in first_ids if self.index.find(first_id)])
        self.index.settle(first_ids)

    def mark(self, kind: Kind, first_ids: Sequence[int]) -> None:
        """Append a mark without a sync: a lost mark only repeats work, which the ids make harmless."""
        if first_ids:
            with suppress(OSError):
                self.log.append([(kind, 0, 0, ids_content(first_ids))], sync=False)

    def remove(self, first_ids: Sequence[int]) -> None:
        removed = [first_id for first_id in first_ids if self.index.remove(first_id)]
        self.drop()
        if self.log.segments:
            self.mark(Kind.REMOVED, removed)

    def drop(self) -> None:
        """Delete the oldest segments, as far as nothing in them is needed."""
        for path in self.log.drop():
            log.error("a damaged file of the spool is kept", extra={"file": path.name, "do": "delete it when done"})

    def refuse(self, refused: Refused) -> None:
        """Set these events aside. Their record is removed if it holds no others."""
        self.set_aside(refused)
        row = self.index.find(refused.first_id)
        if row and self.log.read(row.place) == refused.batch:
            self.remove([refused.first_id])

    def set_aside(self, refused: Refused) -> None:
        content = aside_content(refused.reason, refused.batch)
        (place,) = self.log.append([(Kind.ASIDE, refused.first_id, refused.count, content)], sync=True)
        self.index.refuse(RefusedRow(refused.first_id, refused.count, refused.reason, place.tail(len(refused.batch))))

    def retry(self, first_ids: Sequence[int]) -> int:
        events = 0
        for row in self.index.refused():
            if (first_ids and row.first_id not in first_ids) or self.index.find(row.first_id):
                continue
            # Batches of a newer version were set aside before anybody could publish them.
            lease_until = FREE if row.reason.startswith(NEWER) else None
            self.add([Record(row.first_id, row.events, lease_until, self.log.read(row.place))])
            self.mark(Kind.RETRIED, [row.first_id])
            self.index.remove_refused(row)
            events += row.events
        return events

    def copy(self, segment: Segment, limit: int) -> None:
        """Copy up to `limit` records of a segment to the newest one, and all events that are set aside in it."""
        rows = self.index.of_segment(segment.number, limit)
        if rows:
            places = self.log.append([_entry(record, True) for record in self.records(rows)], sync=True)
            for row, place in zip(rows, places, strict=True):
                self.index.move(row, place)
        for refused in self.index.refused():
            if refused.place.segment == segment.number:
                self.set_aside(self.refused(refused))
                self.index.remove_refused(refused)
        self.drop()

    def records(self, rows: Sequence[Row]) -> list[Record]:
        return [Record(*row[:3], self.log.read(row.place)) for row in rows]

    def refused(self, row: RefusedRow) -> Refused:
        return Refused(*row[:3], self.log.read(row.place))


def _entry(record: Record, keyed: bool) -> NewEntry:
    """`keyed`: an event may have an idempotency key."""
    kind = int(Kind.PUBLISHED if record.lease_until is None else Kind.WAITING)
    if keyed and (batch := record.unpacked()) and batch.has_keys:
        kind |= KEYED
    return kind, record.first_id, record.count, record.batch

"""The spool: batches that are durable on this machine's disk while the database is away.

They are appended to segments (`ingest.spool.segment`), and found by an index in memory. A record goes when its batch is
in the database. Until then it is published like any outbox entry; one without a lease (None) is published already.
"""

import asyncio
import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from ingest.batches import Batch, pack, unpack, unpack_one
from ingest.clock import NowUs
from ingest.errors import IdsTaken, SettingsError, SpoolFull, StoreUnavailable
from ingest.ids import milliseconds_of
from ingest.spool.files import SpoolFiles, damaged, take_spool
from ingest.spool.index import NEVER, Index, RefusedRow, Row
from ingest.spool.loading import TAKEN, Loader
from ingest.spool.log import NewEntry, Segment, SegmentLog
from ingest.spool.records import Place, Record, Refused, SpoolLimits, Usage
from ingest.spool.segment import KEYED, Kind, aside_content, ids_content

T = TypeVar("T")
log = logging.getLogger("ingest.spool")

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
START_BYTES_MAX = 16 << 20
"""So much of an earlier owner's is loaded before the worker starts: a second or so. More is loaded meanwhile."""
CARRIED_RECORDS = 64
"""Copied at a time, out of a segment in which little is left."""
TOLD_SECONDS = 300.0
"""`/readyz` tells for so long of files that were deleted."""


class SpoolStore:
    """See `ingest.store.base.Outbox`, and the module. A thread has all of the state, and waits for the disk."""

    def __init__(self, files: SpoolFiles, timeout_seconds: float, limits: SpoolLimits, now_us: NowUs) -> None:
        self._timeout_seconds = timeout_seconds
        self._limits = limits
        self._now_us = now_us
        self._log = SegmentLog(files, limits.segment_bytes)
        self._index = Index(self._log.count)
        self._thread = ThreadPoolExecutor(1, f"spool-{files.number}")
        self._closed = False
        self._left: Loader | None = None
        self._trouble: str | None = None
        self._trouble_until_us = 0
        self.damages = 0
        """Places in which something could not be read, so far."""

    @property
    def files(self) -> SpoolFiles:
        return self._log.files

    async def start(self) -> None:
        """What an earlier owner has left is the relay's now, if it is little. Raises `StoreError`."""
        self._left = await self._loader(self.files.segments())
        if sum(segment.end for segment in self._left.segments) <= START_BYTES_MAX:
            await self.load_rest()

    async def load_rest(self) -> None:
        """Of what an earlier owner has left, in small pieces. Raises `StoreError`."""
        left, self._left = self._left, None
        if left:
            await self._load(left)

    async def close(self) -> None:
        """Safe to call twice."""
        if not self._closed:
            await self._run(self._close)
            self._closed = True
            self._thread.shutdown(wait=False)

    async def adopt(self, orphan: SpoolFiles) -> int:
        """Take a dead worker's files over, in small pieces; how many, none if they do not fit. Raises `StoreError`."""
        paths = orphan.segments()
        usage = await self.usage()
        if usage.records and usage.file_bytes + sum(path.stat().st_size for path in paths) > self._limits.bytes_max:
            return 0  # this worker must not be without room for new events because another one is dead
        await self._load(await self._loader(paths))
        for path in orphan.requests():
            path.rename(path.with_name(path.name.replace(f"-{orphan.number}.", f"-{self.files.number}.", 1)))
        return len(paths)

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        """Make the batch durable here; False, as nobody is behind.

        Raises `SpoolFull` at a bound, or on a full disk; `IdsTaken` if other events have the ids; `Repeats`.
        """
        record = Record(batch.first_id, len(batch), self._lease_until(lease_seconds), pack(batch))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._run(lambda: self._commit(batch, record, settled))
        except TimeoutError as exc:
            raise StoreUnavailable(f"The spool's disk did not answer within {self._timeout_seconds:g} s.") from exc
        return False

    async def add(self, records: Sequence[Record]) -> None:
        """Records of another spool, whatever the bounds: their bytes are on this disk already."""
        await self._run(lambda: self._add([record for record in records if not self._has(record)]))

    async def settle(self, first_ids: Sequence[int]) -> None:
        def settle() -> None:
            self._mark(Kind.SETTLED, [first_id for first_id in first_ids if self._index.find(first_id)])
            self._index.settle(first_ids)

        await self._run(settle)

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        now_ms, until = self._lease_until(0), self._lease_until(lease_seconds)

        def claim() -> list[int]:
            first_ids = self._index.claimable(now_ms, limit)
            self._index.lease(until, first_ids)
            return sorted(first_ids)

        return await self._run(claim)

    async def read(self, first_ids: Sequence[int]) -> list[Batch]:
        def packed() -> list[tuple[int, bytes]]:
            rows = [row for first_id in sorted(first_ids) if (row := self._index.find(first_id))]
            return [(row[0], self._log.read(Place(*row[3:]))) for row in rows]

        return unpack(await self._run(packed))

    async def after(self, first_id: int, limit: int) -> list[Record]:
        """Records of ids above it, whoever publishes them."""
        return await self._run(lambda: self._records(self._index.after(first_id, limit)))

    async def refused(self) -> list[Refused]:
        """What was set aside."""
        return await self._run(lambda: [self._refused(row) for row in self._index.refused()])

    async def take_oldest(self, limit: int) -> list[Record]:
        """To be brought to the database: the oldest records that nobody publishes now, leased from the relay."""
        now_ms, until = self._lease_until(0), self._lease_until(self._limits.lease_seconds)
        free_ms = NEVER if self._limits.published_first else now_ms

        def take() -> list[Record]:
            records = self._records(self._index.oldest(free_ms, limit))
            self._index.lease(until, [record.first_id for record in records])
            return records

        return await self._run(take)

    async def give_back(self, records: Sequence[Record]) -> None:
        """The database did not take these: whoever is first may publish or bring them over."""

        def lease() -> None:
            for record in records:
                self._index.lease(record.lease_until, [record.first_id])

        await self._run(lease)

    async def remove(self, records: Sequence[Record]) -> None:
        """The batches are in the database."""
        await self._run(lambda: self._remove([record.first_id for record in records]))

    async def set_aside(self, refused: Refused) -> None:
        """It cannot be brought to the database: it stays here, for people."""

        def write() -> None:
            self._set_aside(refused)
            held = self._index.find(refused.first_id)
            if held and self._log.read(Place(*held[3:])) == refused.batch:
                self._remove([refused.first_id])

        await self._run(write)

    async def retry(self, first_ids: Sequence[int] = ()) -> int:
        """What was set aside, or of it the events of these ids, waits for the database again; how many events."""
        return await self._run(lambda: self._retry(first_ids))

    async def take_requests(self) -> None:
        """Do what `ingest spool retry` has asked for while this worker runs. Raises `StoreError`."""
        for path in self.files.requests():
            try:
                events = await self.retry(msgspec.json.decode(path.read_bytes(), type=list[int]))
                log.info("events that were set aside wait for the database again", extra={"events": events})
            except msgspec.MsgspecError as exc:
                log.error("a request to retry cannot be read; it is dropped", extra={"reason": str(exc)})
            path.unlink(missing_ok=True)

    async def usage(self) -> Usage:
        return await self._run(self._usage)

    async def oldest_ms(self) -> int | None:
        """When the oldest event was accepted, Unix milliseconds."""
        first_id = await self._run(self._index.first_id)
        return None if first_id is None else milliseconds_of(first_id)

    async def give_room_back(self) -> None:
        """Of an empty spool, whose keys are forgotten; and of one whose files hold little that is still needed."""

        def tidy() -> None:
            if not self._index.usage.records:
                self._index.forget_keys()
            self._drop()
            if self._log.size > 2 * (self._index.usage.bytes + self._limits.segment_bytes):
                with suppress(OSError):  # a full disk: later, then
                    self._carry(self._log.segments[0])

        await self._run(tidy)

    async def check_room(self, size: int = 0) -> None:
        """Raises `SpoolFull` if so many bytes more do not fit, `StoreUnavailable` if nothing can be written."""
        await self._run(lambda: self._check_room(size))

    async def check_files(self) -> str | None:
        """Look whether all files are where they were; what was deleted is written anew.

        What people should know of the files. Raises `StoreError`.
        """

        def check() -> str | None:
            self._keep_place(self._log.segments)
            if kept := damaged(self.files.folder):
                return f"{len(kept)} files hold damage: see `ingest spool verify`"
            return self._trouble if self._now_us() < self._trouble_until_us else None

        return await self._run(check)

    async def _loader(self, paths: Sequence[Path]) -> Loader:
        return await self._run(lambda: Loader(self._index, self._log.read, self._log.open(paths)))

    async def _load(self, loader: Loader) -> None:
        while await self._run(loader.step):
            pass
        await self._run(lambda: self._loaded(loader))

    def _loaded(self, loader: Loader) -> None:
        for one in loader.conflicts:
            self._set_aside(Refused(one.first_id, one.events, TAKEN, self._log.read(one.place)))
        self._log.place(loader.segments)
        self.damages += len(loader.damage)
        if loader.damage:
            kept = "all that is whole is used, and the files stay: see `ingest spool verify`"
            log.error("the spool's files are damaged", extra={"damage": loader.damage[:20], "kept": kept})
        self._drop()

    def _close(self) -> None:
        with suppress(OSError):
            self._drop()
        self._log.close()
        self._index.close()
        self.files.release()

    def _commit(self, batch: Batch, record: Record, settled: Sequence[int]) -> None:
        self._check_room(record.bytes)
        if self._has(record):
            return
        if self._index.find(record.first_id):
            raise IdsTaken(batch.slot)

        def write() -> None:
            if batch.has_keys:
                self._index.keep_keys(batch)
            self._add([record], settled, keyed=batch.has_keys)

        self._index.transact(write)
        self._keep_place(self._log.segments[-1:])

    def _has(self, record: Record) -> bool:
        held = self._index.find(record.first_id)
        if held is None:
            return False
        kept = self._log.read(Place(*held[3:]))
        return kept == record.batch or unpack_one(kept) == record.unpacked()

    def _add(self, records: Sequence[Record], settled: Sequence[int] = (), *, keyed: bool = True) -> None:
        entries = [_entry(record, keyed) for record in records]
        if settled:
            entries.append((Kind.SETTLED, 0, 0, ids_content(settled)))
        places = self._log.append(entries, sync=True)
        for record, place in zip(records, places, strict=False):
            self._index.add(record.first_id, record.count, record.lease_until, place)
        self._index.settle(settled)

    def _mark(self, kind: Kind, first_ids: Sequence[int]) -> None:
        """One that is lost means a repeat, which the ids make harmless: so nobody waits for the disk."""
        if first_ids:
            with suppress(OSError):
                self._log.append([(kind, 0, 0, ids_content(first_ids))], sync=False)

    def _remove(self, first_ids: Sequence[int]) -> None:
        removed = [first_id for first_id in first_ids if self._index.remove(first_id)]
        self._drop()
        if self._log.segments:
            self._mark(Kind.REMOVED, removed)

    def _drop(self) -> None:
        for path in self._log.drop():
            log.error("a damaged file of the spool is kept", extra={"file": path.name, "do": "delete it when done"})

    def _set_aside(self, refused: Refused) -> None:
        content = aside_content(refused.reason, refused.batch)
        (place,) = self._log.append([(Kind.ASIDE, refused.first_id, refused.count, content)], sync=True)
        self._index.refuse(refused.first_id, refused.count, refused.reason, _tail(place, len(refused.batch)))

    def _retry(self, first_ids: Sequence[int]) -> int:
        events = 0
        for row in self._index.refused():
            if (first_ids and row[0] not in first_ids) or self._index.find(row[0]):
                continue
            self._add([Record(row[0], row[1], None, self._log.read(Place(*row[3:])))])
            self._mark(Kind.RETRIED, [row[0]])
            self._index.remove_refused(row)
            events += row[1]
        return events

    def _usage(self) -> Usage:
        return msgspec.structs.replace(self._index.usage, file_bytes=self._log.size)

    def _check_room(self, size: int) -> None:
        if max(self._index.usage.bytes, self._log.size) + size > self._limits.bytes_max:
            raise SpoolFull(f"The spool is full ({self._limits.bytes_max} bytes). Send the event again.")
        if not self.files.folder.is_dir():
            self._keep_place(self._log.segments)
        disk = os.statvfs(self.files.folder)
        if disk.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, "the disk is read-only", str(self.files.folder))
        if disk.f_bavail * disk.f_frsize < self._limits.free_bytes_min + size:
            raise SpoolFull(f"The disk has less than {self._limits.free_bytes_min} bytes free. Send the event again.")

    def _keep_place(self, segments: Sequence[Segment]) -> None:
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
                self._carry(segment)
        self._drop()

    def _carry(self, segment: Segment) -> None:
        """Copy some of what is needed of a segment to the newest one."""
        if segment is self._log.segments[-1]:
            self._log.roll()
        rows = self._index.of_segment(segment.number, CARRIED_RECORDS)
        if rows:
            places = self._log.append([_entry(record, True) for record in self._records(rows)], sync=True)
            for row, place in zip(rows, places, strict=True):
                self._index.move(row, place)
        for aside in self._index.refused():
            if aside[3] == segment.number:
                self._set_aside(self._refused(aside))
                self._index.remove_refused(aside)
        self._drop()

    def _records(self, rows: Sequence[Row]) -> list[Record]:
        return [Record(*row[:3], self._log.read(Place(*row[3:]))) for row in rows]

    def _refused(self, row: RefusedRow) -> Refused:
        return Refused(*row[:3], self._log.read(Place(*row[3:])))

    def _lease_until(self, seconds: float) -> int:
        return self._now_us() // 1000 + int(seconds * 1000)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise StoreUnavailable("The spool is closed.")
        with _translated():
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _entry(record: Record, keyed: bool) -> NewEntry:
    """`keyed`: whether an event may have a key."""
    kind = int(Kind.PUBLISHED if record.lease_until is None else Kind.WAITING)
    if keyed and (batch := record.unpacked()) and batch.has_keys:
        kind |= KEYED
    return kind, record.first_id, record.count, record.batch


def _tail(place: Place, size: int) -> Place:
    return Place(place.segment, place.place + place.size - size, size)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        full = exc.errno in NO_ROOM
        raise (SpoolFull if full else StoreUnavailable)(f"The spool: {exc.strerror}. Send the event again.") from exc
    except (sqlite3.Error, SettingsError) as exc:
        raise StoreUnavailable(f"The spool: {exc}. Send the event again.") from exc

"""The spool: batches that are durable on this machine's disk while the database is away.

They are appended to segments (`ingest.spool.segment`), and found by an index in memory. A record goes when its batch is
in the database. Until then it is published like any outbox entry; one without a lease (None) is published already.
"""

import asyncio
import errno
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from ingest.clock import NowUs
from ingest.errors import SettingsError, SpoolFull, StoreError, StoreUnavailable
from ingest.events.batch import Batch, pack, unpack
from ingest.events.ids import milliseconds_of
from ingest.spool.files import SpoolFiles
from ingest.spool.index import NEVER
from ingest.spool.journal import Journal
from ingest.spool.loading import Loader
from ingest.spool.records import Record, Refused, SpoolLimits, Usage

T = TypeVar("T")
log = logging.getLogger("ingest.spool")

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
START_BYTES_MAX = 16 << 20
"""So much of an earlier owner's is loaded before the worker starts: a second or so. More is loaded meanwhile."""


class SpoolStore:
    """See `ingest.store.base.Outbox`, and the module. A thread of its own has the journal, and waits for the disk."""

    def __init__(self, files: SpoolFiles, timeout_seconds: float, limits: SpoolLimits, now_us: NowUs) -> None:
        self._timeout_seconds = timeout_seconds
        self._limits = limits
        self._now_us = now_us
        self._journal = Journal(files, limits, now_us)
        self._index = self._journal.index
        self._thread = ThreadPoolExecutor(1, f"spool-{files.number}")
        self._closed = False
        self._left: Loader | None = None
        """What an earlier owner has left, and is not loaded yet."""

    @property
    def files(self) -> SpoolFiles:
        return self._journal.files

    @property
    def damages(self) -> int:
        """Places in which something could not be read, so far."""
        return self._journal.damages

    async def start(self) -> None:
        """What an earlier owner has left is the relay's now, if it is little. Raises `StoreError`."""
        self._left = await self._run(lambda: self._journal.loader(self.files.segments()))
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
            await self._run(self._journal.close)
            self._closed = True
            self._thread.shutdown(wait=False)

    async def adopt(self, orphan: SpoolFiles) -> int:
        """Take a dead worker's files over, in small pieces; how many, none if they do not fit. Raises `StoreError`."""
        paths = orphan.segments()
        usage = await self.usage()
        if usage.records and usage.file_bytes + sum(path.stat().st_size for path in paths) > self._limits.bytes_max:
            return 0  # this worker must not be without room for new events because another one is dead
        await self._load(await self._run(lambda: self._journal.loader(paths)))
        for path in orphan.requests():
            path.rename(path.with_name(path.name.replace(f"-{orphan.number}.", f"-{self.files.number}.", 1)))
        return len(paths)

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        """Make the batch durable here; False, as nobody is behind.

        Raises `SpoolFull` at a bound, or on a full disk; `IdsTaken` if other events have the ids; `DuplicateKeys`.
        """
        record = Record(batch.first_id, len(batch), self._lease_until(lease_seconds), pack(batch))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._run(lambda: self._journal.commit(batch, record, settled))
        except TimeoutError as exc:
            raise StoreUnavailable(f"The spool's disk did not answer within {self._timeout_seconds:g} s.") from exc
        return False

    async def add(self, records: Sequence[Record]) -> None:
        """Records of another spool, whatever the bounds: their bytes are on this disk already."""
        await self._run(lambda: self._journal.add_new(records))

    async def settle(self, first_ids: Sequence[int]) -> None:
        await self._run(lambda: self._journal.settle(first_ids))

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        now_ms, until = self._lease_until(0), self._lease_until(lease_seconds)

        def claim() -> list[int]:
            first_ids = self._index.claimable(now_ms, limit)
            self._index.lease(until, first_ids)
            return sorted(first_ids)

        return await self._run(claim)

    async def read(self, first_ids: Sequence[int]) -> list[Batch]:
        def found() -> list[Record]:
            return self._journal.records([row for one in sorted(first_ids) if (row := self._index.find(one))])

        return unpack((record.first_id, record.batch) for record in await self._run(found))

    async def after(self, first_id: int, limit: int) -> list[Record]:
        """Records of ids above it, whoever publishes them."""
        return await self._run(lambda: self._journal.records(self._index.after(first_id, limit)))

    async def refused(self) -> list[Refused]:
        """What was set aside."""
        return await self._run(lambda: [self._journal.refused(row) for row in self._index.refused()])

    async def take_oldest(self, limit: int) -> list[Record]:
        """To be brought to the database: the oldest records that nobody publishes now, leased from the relay."""
        now_ms, until = self._lease_until(0), self._lease_until(self._limits.lease_seconds)
        free_ms = NEVER if self._limits.published_first else now_ms

        def take() -> list[Record]:
            records = self._journal.records(self._index.oldest(free_ms, limit))
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
        await self._run(lambda: self._journal.remove([record.first_id for record in records]))

    async def set_aside(self, refused: Refused) -> None:
        """It cannot be brought to the database: it stays here, for people."""
        await self._run(lambda: self._journal.refuse(refused))

    async def retry(self, first_ids: Sequence[int] = ()) -> int:
        """What was set aside, or of it the events of these ids, waits for the database again; how many events."""
        return await self._run(lambda: self._journal.retry(first_ids))

    async def take_requests(self) -> None:
        """Do what `ingest spool retry` has asked for while this worker runs. Raises `StoreError` or `OSError`."""
        for path in self.files.requests():
            try:
                events = await self.retry(msgspec.json.decode(path.read_bytes(), type=list[int]))
                log.info("events that were set aside wait for the database again", extra={"events": events})
            except msgspec.MsgspecError as exc:
                log.error("a request to retry cannot be read; it is dropped", extra={"reason": str(exc)})
            path.unlink(missing_ok=True)

    async def usage(self) -> Usage:
        return await self._run(self._journal.usage)

    async def oldest_ms(self) -> int | None:
        """When the oldest event was accepted, Unix milliseconds."""
        first_id = await self._run(self._index.first_id)
        return None if first_id is None else milliseconds_of(first_id)

    async def give_room_back(self) -> None:
        """Of an empty spool, whose keys are forgotten; and of one whose files hold little that is still needed."""
        await self._run(self._journal.tidy)

    async def check_room(self, size: int = 0) -> None:
        """Raises `SpoolFull` if so many bytes more do not fit, `StoreUnavailable` if nothing can be written."""
        await self._run(lambda: self._journal.check_room(size))

    async def check_files(self) -> str | None:
        """Look whether all files are where they were; what was deleted is written anew.

        What people should know of the files. Raises `StoreError`.
        """
        return await self._run(self._journal.check_files)

    async def _load(self, loader: Loader) -> None:
        try:
            while await self._run(loader.step):
                pass
            await self._run(lambda: self._journal.loaded(loader))
        except StoreError as exc:
            kept = "the files: they are read at the next start"
            log.error("files of the spool cannot be read", extra={"reason": str(exc), "kept": kept})
            raise

    def _lease_until(self, seconds: float) -> int:
        return self._now_us() // 1000 + int(seconds * 1000)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise StoreUnavailable("The spool is closed.")
        with _translated():
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        full = exc.errno in NO_ROOM
        raise (SpoolFull if full else StoreUnavailable)(f"The spool failed: {exc.strerror}. Retry.") from exc
    except (sqlite3.Error, SettingsError) as exc:
        raise StoreUnavailable(f"The spool failed: {exc}. Retry.") from exc

"""The spool: batches that are durable on this machine's disk while the database is away.

They are appended to segments (`ingest.spool.segments`), and found by an index in memory. A record is removed when its
batch is in the database. Until then it is published like any outbox entry. Its lease is None once it is published.
"""

import asyncio
import logging
from collections.abc import Sequence

from ingest.clock import Monotonic
from ingest.errors import StoreError, StoreUnavailable
from ingest.events.batch import Batch
from ingest.events.batch_codec import pack
from ingest.events.ids import milliseconds_of
from ingest.spool.disk_thread import DiskThread
from ingest.spool.files import SpoolFiles
from ingest.spool.records import Record, Refused, SpoolLimits, Usage
from ingest.spool.segments.index import NEVER
from ingest.spool.segments.journal import Journal
from ingest.spool.segments.loading import Loader
from ingest.spool.segments.upkeep import Upkeep

log = logging.getLogger("ingest.spool")

START_BYTES_MAX = 16 << 20
"""Up to this size an earlier owner's files are loaded before the worker starts, in about a second. Larger ones are
loaded while it runs."""


class SpoolStore:
    """Implements `ingest.outbox.base.Outbox`. Every method raises `StoreError`."""

    def __init__(self, files: SpoolFiles, timeout_seconds: float, limits: SpoolLimits, monotonic: Monotonic) -> None:
        self._timeout_seconds = timeout_seconds
        self._limits = limits
        self._monotonic = monotonic
        self._journal = Journal(files, limits.segment_bytes)
        self._index = self._journal.index
        self._upkeep = Upkeep(self._journal, limits, monotonic)
        self._thread = DiskThread(f"spool-{files.number}")
        self._run = self._thread.run
        self._unloaded: Loader | None = None
        """The files of an earlier owner, as long as they are not loaded."""

    @property
    def files(self) -> SpoolFiles:
        return self._journal.log.files

    @property
    def damages(self) -> int:
        """The number of damaged places found so far."""
        return self._journal.damages

    async def start(self) -> None:
        """Load an earlier owner's records, if they are few: its relay is gone, so this worker's relay gets them."""
        self._unloaded = await self._run(lambda: self._journal.loader(self.files.segments()))
        if sum(segment.end for segment in self._unloaded.segments) <= START_BYTES_MAX:
            await self.load_rest()

    async def load_rest(self) -> None:
        """Load the rest of an earlier owner's records, in small steps."""
        loader, self._unloaded = self._unloaded, None
        if loader:
            await self._load(loader)

    async def close(self) -> None:
        """Safe to call twice."""
        await self._thread.close(self._journal.close)

    async def adopt(self, orphan: SpoolFiles) -> int:
        """Take over a dead worker's files, in small steps. Return their number: 0 if they do not fit."""
        paths = orphan.segments()
        usage = await self.usage()
        if usage.records and usage.file_bytes + sum(path.stat().st_size for path in paths) > self._limits.bytes_max:
            return 0  # a dead worker's records must not take the room of this worker's new events
        await self._load(await self._run(lambda: self._journal.loader(paths)))
        for path in orphan.requests():
            path.rename(path.with_name(path.name.replace(f"-{orphan.number}.", f"-{self.files.number}.", 1)))
        return len(paths)

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        """Make the batch durable here. Return False: the spool is never in relay mode.

        Raises `SpoolFull` at a bound or on a full disk, `IdsTaken` if other events have the ids, and `DuplicateKeys`.
        """
        record = Record(batch.first_id, len(batch), self._lease_until(lease_seconds), pack(batch))

        def write() -> None:
            self._upkeep.check_room(record.bytes)
            self._journal.commit(batch, record, settled)
            self._upkeep.check_ends()

        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._run(write)
        except TimeoutError as exc:
            raise StoreUnavailable(f"The spool's disk did not answer within {self._timeout_seconds:g} s.") from exc
        return False

    async def probe(self) -> None:
        """See `check`."""
        await self.check()

    async def add(self, records: Sequence[Record]) -> None:
        """Add another spool's records, regardless of the bounds: their bytes are on this disk already."""
        await self._run(lambda: self._journal.add_new(records))

    async def settle(self, first_ids: Sequence[int]) -> None:
        await self._run(lambda: self._journal.settle(first_ids))

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        if self._journal.empty:
            return []
        now_ms, until = self._lease_until(0), self._lease_until(lease_seconds)

        def claim() -> list[int]:
            first_ids = self._index.claimable(now_ms, limit)
            self._index.lease(until, first_ids)
            return sorted(first_ids)

        return await self._run(claim)

    async def read(self, first_ids: Sequence[int]) -> list[Batch]:
        """Leaves out damaged records, which nobody can publish. The drainer gets them, and sets them aside."""

        def found() -> list[Batch]:
            records = self._journal.records([row for one in sorted(first_ids) if (row := self._index.find(one))])
            batches = {record.first_id: record.unpacked() for record in records}
            self._index.lease(None, [first_id for first_id, batch in batches.items() if batch is None])
            return [batch for batch in batches.values() if batch is not None]

        return await self._run(found)

    async def after(self, first_id: int, limit: int) -> list[Record]:
        """Records with first ids above this one, leased or not."""
        return await self._run(lambda: self._journal.records(self._index.after(first_id, limit)))

    async def refused(self) -> list[Refused]:
        """All events that are set aside."""
        return await self._run(lambda: [self._journal.refused(row) for row in self._index.refused()])

    async def take_oldest(self, limit: int) -> list[Record]:
        """The oldest records that nobody publishes now, for the drainer. Their lease keeps the relay away."""
        if self._journal.empty:
            return []
        now_ms, until = self._lease_until(0), self._lease_until(self._limits.lease_seconds)
        free_ms = NEVER if self._limits.published_first else now_ms

        def take() -> list[Record]:
            records = self._journal.records(self._index.oldest(free_ms, limit))
            self._index.lease(until, [record.first_id for record in records])
            return records

        return await self._run(take)

    async def give_back(self, records: Sequence[Record]) -> None:
        """Return records that the database did not take: relay and drainer may have them again."""

        def lease() -> None:
            for record in records:
                self._index.lease(record.lease_until, [record.first_id])

        await self._run(lease)

    async def remove(self, records: Sequence[Record]) -> None:
        """Remove records that are in the database."""
        await self._run(lambda: self._journal.remove([record.first_id for record in records]))

    async def set_aside(self, refused: Refused) -> None:
        """Keep events that the database refuses here, for an operator."""
        await self._run(lambda: self._journal.refuse(refused))

    async def retry(self, first_ids: Sequence[int] = ()) -> int:
        """Let events that are set aside wait for the database again: all, or those of these ids. Return how many."""
        return await self._run(lambda: self._journal.retry(first_ids))

    async def usage(self) -> Usage:
        if self._journal.empty:
            return Usage()
        return await self._run(self._upkeep.usage)

    async def oldest_ms(self) -> int | None:
        """When the oldest event was accepted, in Unix milliseconds."""
        if self._journal.empty:
            return None
        first_id = await self._run(self._index.first_id)
        return None if first_id is None else milliseconds_of(first_id)

    async def give_room_back(self) -> None:
        if not self._journal.empty:
            await self._run(self._upkeep.give_room_back)

    @property
    def file_problem(self) -> str | None:
        """A problem of the files, as `check` has found it."""
        return self._upkeep.problem

    async def check(self) -> None:
        """Write deleted files anew. Raises `SpoolFull` without room, `StoreUnavailable` if nothing can be written."""

        def check() -> None:
            self._upkeep.check_files()
            self._upkeep.check_room()

        await self._run(check)

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
        return int((self._monotonic() + seconds) * 1000)

"""Takes over the spools of dead workers, also of older versions, and carries out requests of `ingest spool retry`."""

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from ingest.errors import StoreError
from ingest.spool.files import DAMAGED, SpoolFiles, take_orphans
from ingest.spool.records import FREE, Record, Refused
from ingest.spool.sqlite_spool import Reading
from ingest.spool.store import SpoolStore
from ingest.ticks import pause

log = logging.getLogger("ingest.spool")

LOOK_SECONDS = 2.0
MOVED_RECORDS = 16
"""Records moved at a time out of an older version's file. Each is one batch, whose size is bounded."""


class Adoption:
    """Moves records to the worker's own spool. A crash may leave a record in both: its ids make that harmless."""

    def __init__(self, folder: Path, own: SpoolStore) -> None:
        self._folder = folder
        self._own = own

    async def run(self) -> None:
        """Work until cancelled. The worker's own batches and its drainer do not wait for it."""
        while True:
            try:
                await self.adopt()
            except (StoreError, OSError) as exc:
                log.debug("the spools of dead workers are adopted later", extra={"reason": str(exc)})
            await pause(LOOK_SECONDS)

    async def adopt(self) -> None:
        """Raises `StoreError` or `OSError`. Records that were not moved by then stay where they are."""
        await self._own.load_rest()
        await self._retry_requested()
        await self._convert(self._own.files)
        for orphan in take_orphans(self._folder):
            try:
                await self._convert(orphan)
                if files := await self._own.adopt(orphan):
                    log.info("a dead worker's spool was adopted", extra={"spool": orphan.number, "files": files})
            finally:
                orphan.release()

    async def _retry_requested(self) -> None:
        """Carry out what `ingest spool retry` requested while this worker runs."""
        for path in self._own.files.requests():
            try:
                events = await self._own.retry(msgspec.json.decode(path.read_bytes(), type=list[int]))
                log.info("events that were set aside wait for the database again", extra={"events": events})
            except msgspec.MsgspecError as exc:
                log.error("a request to retry cannot be read; it is dropped", extra={"reason": str(exc)})
            path.unlink(missing_ok=True)

    async def _convert(self, files: SpoolFiles) -> None:
        """Move the records out of the files of older versions."""
        for path in files.legacy():
            await self._read(path)

    async def _read(self, path: Path) -> None:
        reading, events = Reading(path), 0
        rows = reading.rows()
        while chunk := await asyncio.to_thread(_next, rows):
            await self._own.add([_freed(row) for row in chunk if isinstance(row, Record)])
            for row in chunk:
                if isinstance(row, Refused):
                    await self._own.set_aside(row)
            events += sum(row.count for row in chunk)
        done = {"events": events, "file": path.name}
        if reading.whole:
            log.info("a spool of an older version was read", extra=done)
        else:
            kept = "the file, as *.damaged: SQLite's .recover may find more in it"
            log.error("a spool of an older version is damaged; what is whole was read", extra={**done, "kept": kept})
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            beside = path.with_name(name)
            if reading.whole:
                beside.unlink(missing_ok=True)
            elif beside.exists():
                beside.rename(beside.with_name(name.replace(path.name, f"{path.stem}.sqlite{DAMAGED}")))


def _next(rows: Iterator[Record | Refused]) -> list[Record | Refused]:
    return list(islice(rows, MOVED_RECORDS))


def _freed(record: Record) -> Record:
    return record if record.lease_until is None else msgspec.structs.replace(record, lease_until=FREE)

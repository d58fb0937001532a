"""Takes over what dead workers left in their spools, and what is whole in damaged ones."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from ingest.seats import lock
from ingest.spool.files import LOCK, SpoolFile, damaged, mark_salvaged, take_orphans
from ingest.spool.records import Record
from ingest.spool.salvage import salvage
from ingest.spool.store import SpoolStore

log = logging.getLogger("ingest.spool")

MOVED_RECORDS = 16
"""Moved at a time; each is one batch of bounded bytes."""
FREE = 0
"""The lease of a record whose publisher is dead."""


class Adoption:
    """Into the worker's own spool. A crash in between leaves records in both: their ids make that harmless."""

    def __init__(self, folder: Path, own: SpoolStore, opened: Callable[[SpoolFile], SpoolStore]) -> None:
        self._folder = folder
        self._own = own
        self._opened = opened

    async def adopt(self) -> None:
        """Raises `StoreError`, with what is not moved still where it was."""
        for orphan in take_orphans(self._folder):
            await self._move(self._opened(orphan))
        for path in damaged(self._folder):
            taken = lock(path.with_name(path.name + LOCK))
            if taken is None:
                continue  # another worker reads it
            try:
                if path in damaged(self._folder):
                    await self._salvage(path)
            finally:
                taken.release()

    async def _move(self, orphan: SpoolStore) -> None:
        events = 0
        try:
            while records := await orphan.after(0, MOVED_RECORDS):
                await self._own.add([_freed(record) for record in records])
                await orphan.remove(records)
                events += sum(record.count for record in records)
            for refused in await orphan.refused():
                await self._own.set_aside(refused)
        except BaseException:
            await orphan.close()
            raise
        await orphan.remove_file()
        log.info("a dead worker's spool was adopted", extra={"events": events})

    async def _salvage(self, path: Path) -> None:
        records = salvage(path)
        events = 0
        while chunk := await asyncio.to_thread(_next, records):
            await self._own.add(chunk)
            events += sum(record.count for record in chunk)
        kept = mark_salvaged(path)
        log.warning("a damaged spool was read", extra={"events": events, "kept": f"{kept.name}: delete it when done"})


def _next(records: Iterator[Record]) -> list[Record]:
    return [_freed(record) for record in islice(records, MOVED_RECORDS)]


def _freed(record: Record) -> Record:
    return record if record.lease_until is None else msgspec.structs.replace(record, lease_until=FREE)

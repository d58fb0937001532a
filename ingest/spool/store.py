"""The spool's table on SQLite: batches that are durable here while the database is away.

A record goes when its batch is in the database. Until then it is published like any outbox entry; one
without a lease (NULL) is published already.
"""

import asyncio
import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from ingest.batches import Batch, pack, unpack
from ingest.clock import NowUs
from ingest.errors import SpoolDamaged, SpoolFull, StoreUnavailable
from ingest.ids import milliseconds_of
from ingest.spool import statements as sql
from ingest.spool.files import SpoolFile
from ingest.spool.records import RECORD_BYTES, Record, Refused, SpoolLimits, Usage
from ingest.sqlite import Database, keep_keys, transact

T = TypeVar("T")
log = logging.getLogger("ingest.spool")

VACUUM_BYTES = 16 << 20
"""An empty spool whose file is larger gives the disk its room back."""


class SpoolStore:
    """See `ingest.store.base.Outbox`, and the module.

    A file that SQLite cannot read is set aside at once, and a new one is begun: nothing waits for its repair.
    """

    def __init__(self, file: SpoolFile, timeout_seconds: float, limits: SpoolLimits, now_us: NowUs) -> None:
        self._file = file
        self._database = Database(file.path, timeout_seconds, lambda connection: connection.executescript(sql.SCHEMA))
        self._timeout_seconds = timeout_seconds
        self._limits = limits
        self._now_us = now_us
        self._usage: Usage | None = None
        self._times_damaged = 0

    async def start(self) -> None:
        """What an earlier owner was publishing is the relay's now. Raises `StoreError`."""
        await self._transact(lambda connection: connection.execute(sql.FREE))

    async def close(self) -> None:
        await self._database.close()
        self._file.release()

    async def remove_file(self) -> None:
        """Close, and delete the empty file."""
        await self._database.close()
        self._file.remove()
        self._file.release()

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        """Make the batch durable here; False, as nobody is behind. Raises `SpoolFull` at a bound, or on a full disk."""
        record = Record(batch.first_id, len(batch), self._lease_until(lease_seconds), pack(batch))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self.check_room(record.bytes)
                await self._add([record], settled, batch)
        except TimeoutError as exc:
            raise StoreUnavailable(f"The spool's disk did not answer within {self._timeout_seconds:g} s.") from exc
        return False

    async def add(self, records: Sequence[Record]) -> None:
        """Records of another spool, whatever the bounds: their bytes are on this disk already."""
        await self._add(records, ())

    async def _add(self, records: Sequence[Record], settled: Sequence[int], new: Batch | None = None) -> None:
        def write(connection: sqlite3.Connection) -> None:
            if new:
                keep_keys(connection, "keys", new)
            connection.executemany(sql.INSERT, [msgspec.structs.astuple(record) for record in records])
            connection.executemany(sql.SETTLE, _keys(settled))

        await self._transact(write)
        self._count(records, 1)

    async def settle(self, first_ids: Sequence[int]) -> None:
        await self._transact(lambda connection: connection.executemany(sql.SETTLE, _keys(first_ids)))

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        now_ms, until = self._lease_until(0), self._lease_until(lease_seconds)

        def lease(connection: sqlite3.Connection) -> list[int]:
            first_ids = [row[0] for row in connection.execute(sql.CLAIMABLE, (now_ms, limit))]
            connection.executemany(sql.LEASE, [(until, first_id) for first_id in first_ids])
            return sorted(first_ids)

        return await self._transact(lease)

    async def read(self, first_ids: Sequence[int]) -> list[Batch]:
        def packed(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
            return [row for first_id in sorted(first_ids) for row in connection.execute(sql.READ, (first_id,))]

        return unpack(await self._run(packed))

    async def after(self, first_id: int, limit: int) -> list[Record]:
        """Records of ids above it, whoever publishes them."""
        return await self._run(
            lambda connection: [Record(*row) for row in connection.execute(sql.ALL, (first_id, limit))]
        )

    async def refused(self) -> list[Refused]:
        """What was set aside."""
        return await self._run(lambda connection: [Refused(*row) for row in connection.execute(sql.ALL_REFUSED)])

    async def take_oldest(self, limit: int) -> list[Record]:
        """To be brought to the database: the oldest records that nobody publishes now, leased from the relay."""
        now_ms, until = self._lease_until(0), self._lease_until(self._limits.lease_seconds)
        free_ms = sql.NEVER if self._limits.published_first else now_ms

        def take(connection: sqlite3.Connection) -> list[Record]:
            records = [Record(*row) for row in connection.execute(sql.OLDEST, (free_ms, limit))]
            connection.executemany(sql.LEASE, [(until, record.first_id) for record in records])
            return records

        return await self._transact(take)

    async def give_back(self, records: Sequence[Record]) -> None:
        """The database did not take these: whoever is first may publish or bring them over."""
        keys = [(record.lease_until, record.first_id) for record in records]
        await self._transact(lambda connection: connection.executemany(sql.LEASE, keys))

    async def remove(self, records: Sequence[Record]) -> None:
        """The batches are in the database."""
        keys = _keys([record.first_id for record in records])
        await self._transact(lambda connection: connection.executemany(sql.REMOVE, keys))
        self._count(records, -1)

    async def set_aside(self, refused: Refused) -> None:
        """It cannot be brought to the database: it stays here, for people."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(sql.REFUSE, msgspec.structs.astuple(refused))
            connection.execute(sql.REMOVE, (refused.first_id,))

        await self._transact(write)
        self._usage = None

    async def usage(self) -> Usage:
        """The file is counted once; from then on what comes and goes."""

        def count(connection: sqlite3.Connection) -> Usage:
            records, events, size = connection.execute(sql.USAGE).fetchone()
            return Usage(records, events, size + records * RECORD_BYTES, *connection.execute(sql.REFUSED).fetchone())

        if self._usage is None:
            self._usage = await self._run(count)
        return self._usage

    async def oldest_ms(self) -> int | None:
        """When the oldest event was accepted, Unix milliseconds."""
        (first_id,) = await self._run(lambda connection: connection.execute(sql.FIRST).fetchone())
        return None if first_id is None else milliseconds_of(first_id)

    async def give_room_back(self) -> None:
        """Shrink the file of an empty spool, and forget its keys."""

        def vacuum(connection: sqlite3.Connection) -> None:
            if connection.execute(sql.USAGE).fetchone()[0]:
                return
            connection.execute("DELETE FROM keys")  # the database has them by now
            if self._file.path.stat().st_size > VACUUM_BYTES:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        await self._run(vacuum)

    async def check_room(self, size: int = 0) -> None:
        """Raises `SpoolFull` if so many bytes more do not fit."""
        usage = await self.usage()
        if usage.bytes + size > self._limits.bytes_max:
            raise SpoolFull(f"The spool is full ({self._limits.bytes_max} bytes). Send the event again.")
        if shutil.disk_usage(self._file.path.parent).free < self._limits.free_bytes_min + size:
            raise SpoolFull(f"The disk has less than {self._limits.free_bytes_min} bytes free. Send the event again.")

    def _count(self, records: Sequence[Record], sign: int) -> None:
        if self._usage:
            self._usage = msgspec.structs.replace(
                self._usage,
                records=self._usage.records + sign * len(records),
                events=self._usage.events + sign * sum(record.count for record in records),
                bytes=self._usage.bytes + sign * sum(record.bytes for record in records),
            )

    def _lease_until(self, seconds: float) -> int:
        return self._now_us() // 1000 + int(seconds * 1000)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        times = self._times_damaged
        try:
            with _translated():
                return await self._database.run(work)
        except SpoolDamaged as exc:
            if times == self._times_damaged:  # else another call has found it out, too
                self._times_damaged += 1
                await self._set_file_aside(exc)
            with _translated():
                return await self._database.run(work)

    async def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._run(lambda connection: transact(connection, work))

    async def _set_file_aside(self, reason: SpoolDamaged) -> None:
        self._usage = None
        with _translated():
            await self._database.reopen(self._file.set_aside)
        log.error(
            "the spool's file is damaged",
            extra={"reason": str(reason), "kept": "the file, set aside: what is whole in it is read out of it soon"},
        )


def _keys(first_ids: Sequence[int]) -> list[tuple[int]]:
    return [(first_id,) for first_id in first_ids]


@contextmanager
def _translated() -> Iterator[None]:
    """SQLite's errors as ours: an `OperationalError` is the disk's or the lock's, other ones are the file's."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        full = "full" in str(exc)
        raise (SpoolFull if full else StoreUnavailable)(f"The spool: {exc}. Send the event again.") from exc
    except sqlite3.ProgrammingError as exc:
        raise StoreUnavailable(f"The spool: {exc}.") from exc
    except sqlite3.DatabaseError as exc:
        raise SpoolDamaged(f"The spool's file is damaged ({exc}).") from exc
    except (sqlite3.Error, OSError) as exc:
        raise StoreUnavailable(f"The spool: {exc}.") from exc

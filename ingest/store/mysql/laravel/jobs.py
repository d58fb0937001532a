"""Moves the original's unsent jobs to the outbox, and its failed ones to the dead letters.

A transaction inserts the messages and deletes their jobs. So each job is published by this service or stays with the
original, whatever is killed. Laravel's workers and this command skip the jobs that the other has locked.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from ingest.clock import NowUs
from ingest.events.batch import Batch
from ingest.events.batch_codec import pack
from ingest.events.event import Event
from ingest.events.ids import IdGenerator, milliseconds_of
from ingest.outbox.dead_letters import packed_singly
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.laravel.job import UnreadableJob, event_in
from ingest.store.mysql.laravel.matching import Job, Message, Row, calls_of, match
from ingest.store.mysql.laravel.options import Options
from ingest.store.mysql.laravel.rows import BELOW_ALL, insist
from ingest.store.mysql.laravel.tables import JOBS
from ingest.store.mysql.partitioning.partitions import Reached
from ingest.store.mysql.statements.literals import created_literal, listed, quoted
from ingest.store.mysql.statements.outbox import INSERT_ENTRY

OF_JOB = b"payload LIKE '%%%b%%'"
TAKE = (
    b"SELECT id, payload, created_at, '' FROM jobs WHERE id > %d AND " + OF_JOB + b" AND "
    b"(reserved_at IS NULL OR reserved_at <= UNIX_TIMESTAMP() - %d) ORDER BY id LIMIT %d FOR UPDATE SKIP LOCKED"
)
TAKE_FAILED = (
    b"SELECT id, payload, UNIX_TIMESTAMP(failed_at), LEFT(exception, 255) FROM failed_jobs "
    b"WHERE id > %d AND " + OF_JOB + b" ORDER BY id LIMIT %d FOR UPDATE SKIP LOCKED"
)
_ROW = b"SELECT m.old_id, e.id, e.call_id, e.event_type, CAST(e.payload AS CHAR) FROM "
ROWS_BY_OLD_ID = _ROW + b"ingest_adopted_ids AS m JOIN call_event_logs AS e ON e.id = m.id WHERE m.old_id IN (%b)"
ROWS_BY_CALL = (
    _ROW
    + b"call_event_logs AS e JOIN ingest_adopted_ids AS m ON m.id = e.id WHERE e.call_id IN (%b) "
    + b"ORDER BY e.id DESC LIMIT %d"
)
SENT = b"SELECT event_id FROM ingest_adopted_jobs WHERE event_id IN (%b)"
NEWEST_OF_SLOT = b"SELECT MAX(event_id) FROM ingest_adopted_jobs WHERE event_id >> 10 & 4095 = %d"
NOTE_SENT = b"INSERT INTO ingest_adopted_jobs (event_id, job_id, failed) VALUES %b"
ADD_DEAD = b"INSERT INTO ingest_dead_letters (event_id, reason, died_time, batch) VALUES (%d, %b, %b, _binary%b)"
DELETE = b"DELETE FROM %b WHERE id IN (%b)"
LEFT = b"SELECT COUNT(*), COALESCE(SUM(reserved_at IS NOT NULL), 0) FROM jobs WHERE " + OF_JOB
LEFT_FAILED = b"SELECT COUNT(*), 0 FROM failed_jobs WHERE " + OF_JOB

REASON_CHARS_MAX = 255
ROWS_MAX = 10_000
"""The newest rows of the calls of a chunk, among which its jobs look for theirs."""


class Moved(msgspec.Struct):
    """Counts of one run. `rowless` are messages whose id is no row's. `unreadable`: job → why it stays."""

    messages: int = 0
    rowless: int = 0
    unreadable: dict[int, str] = {}


class JobMove:
    """Moves the jobs of one table. `slot` makes the ids of messages without a row."""

    def __init__(
        self,
        connection: Connection,
        table: bytes,
        slot: int,
        options: Options,
        now_us: NowUs,
        reached: Reached = lambda _: None,
    ) -> None:
        self._connection = connection
        self._table = table
        self._slot = slot
        self._name = options.job
        self._options = options
        self._now_us = now_us
        self._reached = reached
        self._unreadable: dict[int, str] = {}
        self._chunk: list[Message] = []

    async def run(self) -> Moved:
        """Move all jobs that no worker of Laravel has. Raises `StoreError`; whole chunks are kept."""
        newest = (await self._connection.run(NEWEST_OF_SLOT % self._slot))[0][0]
        ids = IdGenerator(self._slot, self._now_us, milliseconds_of(newest) if newest else 0)
        moved, after = Moved(), BELOW_ALL
        while (last := await self._move_chunk(after, ids)) is not None:
            after = last
            moved.messages += len(self._chunk)
            moved.rowless += sum(message.event_id is None for message in self._chunk)
            self._reached(self._table.decode())
        moved.unreadable = self._unreadable
        return moved

    async def left(self) -> tuple[int, int]:
        """The number of jobs that are there, and of those that a worker of Laravel has."""
        question = LEFT if self._table == JOBS else LEFT_FAILED
        count, reserved = (await self._connection.run(question % self._name.encode()))[0]
        return int(count), int(reserved)

    async def _move_chunk(self, after: int, ids: IdGenerator) -> int | None:
        """Return the last job's id, or None after the last chunk."""
        last: list[int] = []

        async def move() -> None:
            last.clear()
            async with self._connection.transaction():
                taken = await self._take(after)
                last.extend(row[0] for row in taken[-1:])
                self._chunk = await self._messages([job for row in taken if (job := self._job(row))])
                if self._chunk:
                    await self._store(self._chunk, ids)

        await insist(move)
        return last[0] if last else None

    async def _take(self, after: int) -> Sequence[Sequence[Any]]:
        name = self._name.encode()
        if self._table == JOBS:
            taking = TAKE % (after, name, self._options.reserved_seconds, self._options.chunk_jobs)
        else:
            taking = TAKE_FAILED % (after, name, self._options.chunk_jobs)
        return await self._connection.run(taking)

    def _job(self, row: Sequence[Any]) -> Job | None:
        job_id, payload, created_seconds, exception = row
        try:
            holds = event_in(payload if isinstance(payload, str) else payload.decode(errors="replace"), self._name)
        except UnreadableJob as exc:
            self._unreadable[job_id] = str(exc)
            return None
        return Job(job_id, int(created_seconds or 0) * 1_000_000, exception, holds) if holds else None

    async def _messages(self, jobs: Sequence[Job]) -> list[Message]:
        rows = await self._rows(jobs)
        sent = await self._connection.run(SENT % listed(row.id for row in rows)) if rows else []
        messages, unsendable = match(jobs, rows, [event_id for (event_id,) in sent])
        self._unreadable |= unsendable
        return messages

    async def _rows(self, jobs: Sequence[Job]) -> list[Row]:
        found = []
        if row_ids := {job.holds.row_id for job in jobs if job.holds.row_id is not None}:
            found += await self._connection.run(ROWS_BY_OLD_ID % listed(sorted(row_ids)))
        if calls := calls_of(jobs):
            texts = b",".join(quoted(call.encode()) for call in sorted(calls))
            found += await self._connection.run(ROWS_BY_CALL % (texts, ROWS_MAX))
        return [Row(row[0], row[1], Event(row[2], row[3], row[4].encode())) for row in dict.fromkeys(found)]

    async def _store(self, messages: Sequence[Message], ids: IdGenerator) -> None:
        named = [(message.event_id or ids.take(1)[0], message) for message in messages]
        failed = self._table != JOBS
        for batch, reasons in _batches(named):
            if failed:
                for (event_id, packed), reason in zip(packed_singly(batch), reasons, strict=True):
                    died = created_literal(batch.created_us)
                    await self._connection.run(ADD_DEAD % (event_id, quoted(reason), died, quoted(packed)))
            else:
                entry = (batch.first_id, len(batch), 0, quoted(pack(batch)))
                await self._connection.run(INSERT_ENTRY % entry)
        notes = b",".join(b"(%d,%d,%d)" % (event_id, message.job.id, failed) for event_id, message in named)
        await self._connection.run(NOTE_SENT % notes)
        await self._connection.run(DELETE % (self._table, listed(message.job.id for message in messages)))


def _batches(named: Sequence[tuple[int, Message]]) -> Iterator[tuple[Batch, Sequence[bytes]]]:
    """One batch for all jobs of a second, with the reasons of failed ones. Its ids ascend."""
    ordered = sorted(named, key=lambda one: (one[1].job.created_us, one[0]))
    for created_us, group in groupby(ordered, key=lambda one: one[1].job.created_us):
        pairs = list(group)
        batch = Batch([event_id for event_id, _ in pairs], [message.event for _, message in pairs], created_us)
        yield batch, [_reason(message.job.reason) for _, message in pairs]


def _reason(exception: str) -> bytes:
    lines = exception.splitlines() or ["no reason"]
    return f"Laravel: {lines[0]}"[:REASON_CHARS_MAX].encode()

"""Copies this service's events to the original's table, for the way back.

Each row gets an id of the original, and both ids are noted in the same transaction. So a repeated run copies no row
twice, and a later adoption knows these rows again.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from ingest.errors import BatchRefused, StoreError
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.laravel.options import Options, Progress
from ingest.store.mysql.laravel.rows import BELOW_ALL, LOAD_SHARE, in_zone, insist
from ingest.store.mysql.laravel.tables import US, Table
from ingest.store.mysql.partitioning.partitions import Reached
from ingest.store.mysql.statements.literals import created_literal, created_text, listed, quoted

COUNT = b"SELECT COUNT(*) FROM %b"
CHUNK = (
    b"SELECT e.id, m.id IS NULL FROM %b AS e LEFT JOIN ingest_adopted_ids AS m ON m.id = e.id "
    b"WHERE e.id > %d ORDER BY e.id LIMIT %d"
)
READ = (
    b"SELECT id, call_id, event_type, CAST(payload AS CHAR), TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_time) "
    b"FROM %b WHERE id IN (%b) ORDER BY id"
)
INSERT = b"INSERT INTO %b (call_id, event_type, payload, created_time) VALUES %b"
FIRST_ID = b"SELECT LAST_INSERT_ID(), @@auto_increment_increment"
"""The server numbers the rows of one INSERT with VALUES one after the other, by this step."""
NUMBER = b"INSERT INTO ingest_adopted_ids (old_id, id, created_time) VALUES %b"
KEEP = (
    b"INSERT INTO %b (id, call_id, event_type, payload, created_time) "
    b"SELECT id, call_id, event_type, payload, created_time FROM %b WHERE id IN (%b)"
)
CHUNK_BYTES = 1 << 20
"""Payloads of one INSERT, which must be smaller than `max_allowed_packet`."""


class BackCopy:
    """Copies from `source` to `original`, and to `keep` if this is another table of the service than the source.

    Source and keep are names as SQL.
    """

    def __init__(
        self,
        connection: Connection,
        source: bytes,
        original: Table,
        keep: bytes | None,
        options: Options,
        progress: Progress,
        reached: Reached = lambda _: None,
    ) -> None:
        self._connection = connection
        self._source = source
        self._original = original
        self._keep = keep
        self._options = options
        self._progress = progress
        self._reached = reached

    async def run(self) -> int:
        """Copy all rows without an id of the original. Return their number. Raises `StoreError`."""
        if unfilled := self._original.unfilled:
            raise StoreError(
                f"{self._original.name} has columns without a default ({', '.join(unfilled)}), which this service's "
                "events do not fill. Nothing was changed: give them a default first."
            )
        total = int((await self._connection.run(COUNT % self._source))[0][0])
        copied, done, after = 0, 0, BELOW_ALL
        while rows := await self._connection.run(CHUNK % (self._source, after, self._options.chunk_rows)):
            started = time.monotonic()
            missing = [row[0] for row in rows if row[1]]
            if missing:
                await self._copy(missing)
                await asyncio.sleep((time.monotonic() - started) * (1 / LOAD_SHARE - 1))
            copied, done, after = copied + len(missing), done + len(rows), rows[-1][0]
            self._progress(done, total)
        return copied

    async def _copy(self, ids: Sequence[int]) -> None:
        rows = await self._connection.run(READ % (self._source, listed(ids)))
        for part in _parts(rows):
            try:
                await insist(partial(self._store, part))
            except BatchRefused as exc:
                raise StoreError(
                    f"{self._original.name} refuses an event from {part[0][0]} on: {exc} This chunk was not kept. "
                    "Widen the column, such as an ENUM of event types, and run the command again."
                ) from exc
            self._reached("copied back")

    async def _store(self, rows: Sequence[Sequence[Any]]) -> None:
        name = self._original.name.encode()
        async with self._connection.transaction():
            await self._connection.run(INSERT % (name, b",".join(self._values(row) for row in rows)))
            first, step = map(int, (await self._connection.run(FIRST_ID))[0])
            numbers = (
                b"(%d,%d,%b)" % (first + at * step, row[0], created_literal(row[4])) for at, row in enumerate(rows)
            )
            await self._connection.run(NUMBER % b",".join(numbers))
            if self._keep:
                await self._connection.run(KEEP % (self._keep, self._source, listed(row[0] for row in rows)))

    def _values(self, row: Sequence[Any]) -> bytes:
        unit_us = self._original.unit_us
        created_us = in_zone(row[4], self._options.zone) // unit_us * unit_us
        created = created_text(created_us).encode() if unit_us < US else created_text(created_us)[:19].encode()
        return b"(%b,%b)" % (b",".join(quoted(text.encode()) for text in row[1:4]), quoted(created))


def _parts(rows: Sequence[Sequence[Any]]) -> list[list[Sequence[Any]]]:
    """Rows of at most `CHUNK_BYTES` together, or one larger row."""
    parts: list[list[Sequence[Any]]] = [[]]
    size = 0
    for row in rows:
        size += len(row[3])
        if parts[-1] and size > CHUNK_BYTES:
            parts.append([])
            size = len(row[3])
        parts[-1].append(row)
    return [part for part in parts if part]

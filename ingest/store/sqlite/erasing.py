"""Finds and erases events in a SQLite file, a page at a time."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ingest.erasure.database import Newest, Packed, StoredEvent
from ingest.events.batch import Batch
from ingest.events.batch_codec import pack
from ingest.sqlite import Connect, Database, connect
from ingest.store.sqlite.store import INSERT_ENTRY, INSERT_EVENT
from ingest.store.sqlite.tables import DROP_DEAD_LETTER, translated, utc_text

T = TypeVar("T")

EVENTS = "SELECT id, call_id, payload FROM call_event_logs WHERE id > ?{} ORDER BY id LIMIT ?"
NEWEST = (
    "SELECT (SELECT COALESCE(MAX(id), 0) FROM call_event_logs), "
    "(SELECT COALESCE(MAX(first_id), 0) FROM ingest_outbox), "
    "(SELECT COALESCE(MAX(event_id), 0) FROM ingest_dead_letters)"
)
ENTRIES = "SELECT first_id, batch FROM ingest_outbox WHERE first_id > ? ORDER BY first_id LIMIT ?"
LETTERS = "SELECT event_id, batch FROM ingest_dead_letters WHERE event_id > ? ORDER BY event_id LIMIT ?"
ENTRY = "SELECT batch FROM ingest_outbox WHERE first_id = ?"
REPLACE = "UPDATE ingest_outbox SET batch = ? WHERE first_id = ?"
DELETE_EVENT = "DELETE FROM call_event_logs WHERE id = ?"
PAGE_BYTES_MAX = 8_388_608
"""Payloads of a page, and one row more."""
OVERWRITE = "PRAGMA secure_delete = ON"
"""SQLite then overwrites deleted rows with zeros. By default their bytes stay in the file."""
EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"


class SQLiteErasable:
    """Implements `ingest.erasure.database.ErasableDatabase`."""

    def __init__(self, path: Path, timeout_seconds: float, connect: Connect = connect) -> None:
        self._database = Database(path, timeout_seconds, lambda opened: opened.execute(OVERWRITE), connect)

    async def lock(self) -> bool:
        return True  # nothing moves events to or from a SQLite file

    async def check(self) -> list[str]:
        return []

    async def newest(self) -> Newest:
        return Newest(*(await self._rows(NEWEST, ()))[0])

    async def events(self, after_id: int, limit: int, call_ids: Sequence[str] | None) -> list[StoredEvent]:
        calls = "" if call_ids is None else f" AND call_id IN ({','.join('?' * len(call_ids))})"
        values = (after_id, *(call_ids or ()), limit)

        def read(connection: sqlite3.Connection) -> list[StoredEvent]:
            found, total = [], 0
            for event_id, call_id, payload in connection.execute(EVENTS.format(calls), values):
                found.append(StoredEvent(event_id, call_id, payload.encode()))
                total += len(payload)
                if total >= PAGE_BYTES_MAX:
                    break
            return found

        with translated():
            return await self._database.run(read)

    async def entries(self, after_id: int, limit: int) -> list[Packed]:
        return await self._rows(ENTRIES, (after_id, limit))

    async def letters(self, after_id: int, limit: int) -> list[Packed]:
        return await self._rows(LETTERS, (after_id, limit))

    async def erase(self, event_ids: Sequence[int], tombstone: Batch) -> int:
        return await self._transact(lambda connection: _erase(connection, event_ids, tombstone))

    async def replace_entry(
        self, first_id: int, change: Callable[[bytes], bytes | None], event_ids: Sequence[int], tombstone: Batch
    ) -> int:
        def work(connection: sqlite3.Connection) -> int:
            row = connection.execute(ENTRY, (first_id,)).fetchone()
            if row and (changed := change(row[0])):
                connection.execute(REPLACE, (changed, first_id))
            return _erase(connection, event_ids, tombstone)

        return await self._transact(work)

    async def finish(self) -> None:
        """Empty the log, after its pages are in the file. A reader may delay that until the next checkpoint."""
        await self._rows(EMPTY_LOG, ())

    async def close(self) -> None:
        await self._database.close()

    async def _rows(self, sql: str, values: Sequence[object]) -> list[tuple]:  # type: ignore[type-arg]
        with translated():
            return await self._database.run(lambda connection: connection.execute(sql, values).fetchall())

    async def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with translated():
            return await self._database.transact(work)


def _erase(connection: sqlite3.Connection, event_ids: Sequence[int], tombstone: Batch) -> int:
    (event,) = tombstone.events
    created = utc_text(tombstone.created_us)
    row = (tombstone.first_id, event.call_id, event.event_type, event.payload.decode(), created)
    connection.execute(INSERT_EVENT, row)
    connection.execute(INSERT_ENTRY, (tombstone.first_id, 1, 0, pack(tombstone)))
    ids = [(event_id,) for event_id in event_ids]
    connection.executemany(DROP_DEAD_LETTER, ids)
    return connection.executemany(DELETE_EVENT, ids).rowcount

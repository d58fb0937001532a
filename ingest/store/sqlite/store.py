"""The store on SQLite: the embedded default."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from ingest.errors import IdsTaken, SchemaError, StoreError
from ingest.events.batch import Batch, divided
from ingest.events.batch_codec import pack, unpack, unpack_one
from ingest.events.ids import (
    CLOCKS_APART_MS_MAX,
    LEASED_SLOTS_MAX,
    first_id_of,
    last_issued_of,
    milliseconds_of,
    slot_of,
)
from ingest.outbox.base import COUNTED_MAX, Backlog
from ingest.sqlite import connect
from ingest.store.base import ALL_LEASED, LEASE_SECONDS_MAX, SlotLease
from ingest.store.migrations import migrations, newest_version
from ingest.store.sqlite.keys import keep_keys
from ingest.store.sqlite.lookup import SQLiteEventLookup
from ingest.store.sqlite.schema import check_tables
from ingest.store.sqlite.tables import NEWEST_ID, utc_text

T = TypeVar("T")

INSERT_EVENT = """INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time)
    VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""
READ_EVENT = "SELECT id, call_id, event_type, payload, created_time FROM call_event_logs WHERE id = ?"
INSERT_ENTRY = "INSERT INTO ingest_outbox (first_id, count, lease_until, batch) VALUES (?, ?, ?, ?)"
SETTLE = "DELETE FROM ingest_outbox WHERE first_id = ?"
SETTLE_PUBLISHED = f"{SETTLE} AND count <= ?"
"""An entry with more events than the published batch stays. It is that of a larger batch, which began with this one."""
CUT_ENTRY = "UPDATE ingest_outbox SET count = ?, batch = ? WHERE first_id = ?"
LARGER = "SELECT batch FROM ingest_outbox WHERE first_id = ? AND count > ?"
CLAIMABLE = """SELECT first_id FROM ingest_outbox
    WHERE lease_until <= ? OR lease_until > ? ORDER BY lease_until, first_id LIMIT ?"""
"""No lease lasts as long as the second limit. Such an entry was leased while the clock was ahead."""
LEASE = "UPDATE ingest_outbox SET lease_until = ?, attempts = attempts + 1 WHERE first_id = ?"
READ = "SELECT first_id, batch FROM ingest_outbox WHERE first_id = ?"
FORGET_KEYS = """DELETE FROM ingest_keys WHERE digest IN
    (SELECT digest FROM ingest_keys WHERE event_id < ? ORDER BY event_id LIMIT ?)"""
BACKLOG = f"""SELECT COALESCE(SUM(count), 0), MIN(first_id), COUNT(*)
    FROM (SELECT first_id, count FROM ingest_outbox ORDER BY first_id LIMIT {COUNTED_MAX})"""
IDS_BETWEEN = "SELECT id FROM call_event_logs WHERE id BETWEEN ? AND ?"
FREE_SLOT = """SELECT slot, floor_ms FROM ingest_slots WHERE lease_until < ? AND slot < ? AND floor_ms <= ?
    ORDER BY lease_until LIMIT 1"""
NEXT_SLOT = "SELECT COALESCE(MAX(slot) + 1, 0) FROM ingest_slots"
TAKE_SLOT = "INSERT OR REPLACE INTO ingest_slots (slot, node, life, lease_until, floor_ms) VALUES (?, ?, ?, ?, ?)"
RENEW_SLOT = """UPDATE ingest_slots SET lease_until = ?1, floor_ms = MAX(floor_ms, ?2), life = ?3
    WHERE slot = ?4 AND node = ?5 AND life IN (?3, ?6)"""
VERSION = "SELECT MAX(version) FROM ingest_migrations"
MIGRATIONS_TABLE = """CREATE TABLE IF NOT EXISTS ingest_migrations (
    version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_time TEXT NOT NULL)"""
RECORD_MIGRATION = "INSERT INTO ingest_migrations (version, name, applied_time) VALUES (?, ?, ?)"
FAILED = "Nothing was migrated: fix the cause and run `ingest migrate` again"


def migrate(path: Path, timeout_seconds: float = 30.0) -> list[str]:
    """Bring the database to this release's schema. Return the names of the migrations applied now."""
    connection = connect(path, timeout_seconds)
    try:
        connection.execute("BEGIN IMMEDIATE")  # a second process waits here
        connection.execute(MIGRATIONS_TABLE)
        done = connection.execute(VERSION).fetchone()[0] or 0
        due = [migration for migration in migrations("sqlite") if migration.version > done]
        for migration in due:
            for statement in migration.statements:
                connection.execute(statement)
            now = datetime.now(UTC).isoformat(sep=" ")
            connection.execute(RECORD_MIGRATION, (migration.version, migration.name, now))
        connection.execute("COMMIT")
        return [migration.name for migration in due]
    except sqlite3.Error as exc:
        raise StoreError(f"{FAILED} ({exc}).") from exc
    finally:
        connection.close()


class SQLiteStore(SQLiteEventLookup):
    """Implements `ingest.store.base.Store`. `now_us` is Unix time in microseconds."""

    unfinished = None
    """Nothing can be interrupted: all migrations are one transaction, and nothing else changes the tables."""
    _compared = False

    async def start(self) -> None:
        pass  # opens at first use, in its thread

    async def ping(self) -> None:
        await self._run(_check_version)
        await self._run(self._check_once)

    async def probe(self) -> None:
        await self.ping()  # only the spool's drainer probes, and a SQLite store has no spool

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        lease_until = self._now_us() // 1000 + int(lease_seconds * 1000)
        entry = (batch.first_id, len(batch), lease_until, pack(batch))

        def write(connection: sqlite3.Connection) -> None:
            self._check_once(connection)
            keep_keys(connection, "ingest_keys", batch)
            if _insert(connection, batch):
                connection.execute(INSERT_ENTRY, entry)
            connection.executemany(SETTLE, [(first_id,) for first_id in settled])

        await self._transact(write)
        return False

    async def insert_published(self, batches: Sequence[Batch]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            self._check_once(connection)
            for batch in batches:
                keep_keys(connection, "ingest_keys", batch)
                _insert(connection, batch)
            connection.executemany(SETTLE_PUBLISHED, [(batch.first_id, len(batch)) for batch in batches])

        await self._transact(write)

    def _check_once(self, connection: sqlite3.Connection) -> None:
        """Compare the tables before the first event is stored."""
        if not self._compared:
            check_tables(connection)
            self._compared = True

    async def settle(self, first_ids: Sequence[int]) -> None:
        keys = [(first_id,) for first_id in first_ids]
        await self._transact(lambda connection: connection.executemany(SETTLE, keys))

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        now_ms = self._now_us() // 1000
        until, latest_ms = now_ms + int(lease_seconds * 1000), now_ms + LEASE_SECONDS_MAX * 1000

        def lease(connection: sqlite3.Connection) -> list[int]:
            first_ids = [row[0] for row in connection.execute(CLAIMABLE, (now_ms, latest_ms, limit))]
            connection.executemany(LEASE, [(until, first_id) for first_id in first_ids])
            return sorted(first_ids)

        return await self._transact(lease)

    async def read(self, first_ids: Sequence[int]) -> list[Batch]:
        def packed(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
            return [row for first_id in sorted(first_ids) for row in connection.execute(READ, (first_id,))]

        return unpack(await self._run(packed))

    async def forget_keys(self, before_ms: int, limit: int) -> int:
        values = (first_id_of(before_ms), limit)
        return await self._transact(lambda connection: connection.execute(FORGET_KEYS, values).rowcount)

    async def count_rows(self, first_id: int, last_id: int) -> int:
        ids = (first_id, last_id)
        rows = await self._run(lambda connection: connection.execute(IDS_BETWEEN, ids).fetchall())
        return sum(slot_of(row[0]) == slot_of(first_id) for row in rows)

    async def backlog(self) -> Backlog:
        count, first_id, entries = await self._run(lambda connection: connection.execute(BACKLOG).fetchone())
        age_ms = self._now_us() // 1000 - milliseconds_of(first_id) if first_id is not None else 0
        return Backlog(count, max(0, age_ms) / 1000, entries)

    async def lease_slot(self, node: str, life: str, lease_seconds: float) -> SlotLease:
        now_ms = self._now_us() // 1000
        until_ms = now_ms + int(lease_seconds * 1000)

        def take(connection: sqlite3.Connection) -> SlotLease:
            (newest_id,) = connection.execute(NEWEST_ID).fetchone()
            bounds = (now_ms, LEASED_SLOTS_MAX, now_ms + CLOCKS_APART_MS_MAX)
            free = connection.execute(FREE_SLOT, bounds).fetchone()
            slot, last_issued_ms = free or (connection.execute(NEXT_SLOT).fetchone()[0], 0)
            if slot >= LEASED_SLOTS_MAX:
                raise StoreError(ALL_LEASED)
            connection.execute(TAKE_SLOT, (slot, node, life, until_ms, last_issued_ms))
            return SlotLease(slot, node, until_ms, last_issued_of(last_issued_ms, newest_id, now_ms), life)

        return await self._transact(take)

    async def renew_slot(self, lease: SlotLease, life: str, lease_seconds: float) -> SlotLease | None:
        until_ms = self._now_us() // 1000 + int(lease_seconds * 1000)
        values = (until_ms, lease.last_issued_ms, life, lease.slot, lease.node, lease.life)
        changed = await self._transact(lambda connection: connection.execute(RENEW_SLOT, values).rowcount)
        return SlotLease(lease.slot, lease.node, until_ms, lease.last_issued_ms, life) if changed else None

    async def release_slot(self, lease: SlotLease, keep_seconds: float) -> None:
        await self.renew_slot(lease, lease.life, keep_seconds)


def _insert(connection: sqlite3.Connection, batch: Batch) -> bool:
    """Insert the rows. Return False if exactly these rows are stored already.

    If they were stored as a part of a larger batch, the entry of that is divided.
    """
    created = utc_text(batch.created_us)
    rows = [
        (event_id, event.call_id, event.event_type, event.payload.decode(), created)
        for event_id, event in zip(batch.ids, batch.events, strict=True)
    ]
    new = connection.executemany(INSERT_EVENT, rows).rowcount
    if new == len(rows):
        return True
    if new or [connection.execute(READ_EVENT, row[:1]).fetchone() for row in rows] != rows:
        raise IdsTaken(batch.slot)
    for (packed,) in connection.execute(LARGER, (batch.first_id, len(batch))).fetchall():
        if larger := unpack_one(packed):
            _divide_entry(connection, *divided(larger, batch))
    return False


def _divide_entry(connection: sqlite3.Connection, part: Batch, rest: Batch) -> None:
    """Cut the entry of both down to the part, and give the rest an entry that any relay may claim."""
    connection.execute(CUT_ENTRY, (len(part), pack(part), part.first_id))
    connection.execute(SETTLE, (rest.first_id,))  # such an entry has no other events than the rest
    connection.execute(INSERT_ENTRY, (rest.first_id, len(rest), 0, pack(rest)))


def _check_version(connection: sqlite3.Connection) -> None:
    version = connection.execute(VERSION).fetchone()[0] or 0
    if version < newest_version("sqlite"):
        raise SchemaError

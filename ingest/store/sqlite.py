"""The store on SQLite: the embedded default."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from ingest.batches import Batch, pack, unpack, unpack_one
from ingest.dead_letters import DeadLetter, packed_singly
from ingest.errors import IdsTaken, RowRefused, SchemaError, StoreError, StoreUnavailable
from ingest.events import Event
from ingest.events_table import Selection
from ingest.ids import SLOTS_MAX, first_id_of, milliseconds_of, slot_of
from ingest.sqlite import Database, connect, keep_keys
from ingest.store.base import Backlog, SlotLease
from ingest.store.migrations import migrations, newest_version
from ingest.tokens import Token

T = TypeVar("T")

INSERT_EVENT = """INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time)
    VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""
READ_EVENT = "SELECT id, call_id, event_type, payload, created_time FROM call_event_logs WHERE id = ?"
INSERT_ENTRY = "INSERT INTO ingest_outbox (first_id, count, lease_until, batch) VALUES (?, ?, ?, ?)"
SETTLE = "DELETE FROM ingest_outbox WHERE first_id = ?"
CLAIMABLE = """SELECT first_id FROM ingest_outbox
    WHERE lease_until <= ? ORDER BY lease_until, first_id LIMIT ?"""
LEASE = "UPDATE ingest_outbox SET lease_until = ?, attempts = attempts + 1 WHERE first_id = ?"
READ = "SELECT first_id, batch FROM ingest_outbox WHERE first_id = ?"
FORGET_KEYS = """DELETE FROM ingest_keys WHERE digest IN
    (SELECT digest FROM ingest_keys WHERE event_id < ? ORDER BY event_id LIMIT ?)"""
BACKLOG = "SELECT COALESCE(SUM(count), 0), MIN(first_id), COUNT(*) FROM ingest_outbox"
IDS_BETWEEN = "SELECT id FROM call_event_logs WHERE id BETWEEN ? AND ?"
FREE_SLOT = "SELECT slot, floor_ms FROM ingest_slots WHERE lease_until < ? ORDER BY lease_until LIMIT 1"
NEXT_SLOT = "SELECT COALESCE(MAX(slot) + 1, 0) FROM ingest_slots"
TAKE_SLOT = "INSERT OR REPLACE INTO ingest_slots (slot, node, lease_until, floor_ms) VALUES (?, ?, ?, ?)"
RENEW_SLOT = """UPDATE ingest_slots SET lease_until = ?, floor_ms = MAX(floor_ms, ?)
    WHERE slot = ? AND node = ?"""
TOKENS = """SELECT digest, name, created_time, expires_time, events_per_second, burst
    FROM ingest_tokens ORDER BY created_time, digest"""
ADD_TOKEN = """INSERT INTO ingest_tokens (digest, name, created_time, expires_time, events_per_second, burst)
    VALUES (?, ?, ?, ?, ?, ?)"""  # noqa: S105 - SQL, as below
EXPIRE_TOKEN = """UPDATE ingest_tokens SET expires_time = MIN(COALESCE(expires_time, ?1), ?1) WHERE digest = ?2"""  # noqa: S105
REMOVE_TOKEN = "DELETE FROM ingest_tokens WHERE digest = ?"  # noqa: S105
COUNT_EVENTS = "SELECT COUNT(*) FROM call_event_logs WHERE "
READ_EVENTS = "SELECT id, call_id, event_type, payload FROM call_event_logs WHERE "
BURY = "INSERT OR IGNORE INTO ingest_dead_letters (event_id, reason, died_time, batch) VALUES (?, ?, ?, ?)"
DEAD_LETTERS = """SELECT event_id, reason, died_time, batch FROM ingest_dead_letters
    WHERE event_id > ? ORDER BY event_id LIMIT ?"""
COUNT_DEAD = "SELECT COUNT(*) FROM ingest_dead_letters"
REVIVE = """INSERT INTO ingest_outbox (first_id, count, lease_until, batch)
    SELECT event_id, 1, ?, batch FROM ingest_dead_letters WHERE event_id = ?"""
DROP_DEAD = "DELETE FROM ingest_dead_letters WHERE event_id = ?"
VERSION = "SELECT MAX(version) FROM ingest_migrations"
MIGRATIONS_TABLE = """CREATE TABLE IF NOT EXISTS ingest_migrations (
    version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_time TEXT NOT NULL)"""
RECORD_MIGRATION = "INSERT INTO ingest_migrations (version, name, applied_time) VALUES (?, ?, ?)"
FAILED = "Nothing was migrated: mend the cause and run `ingest migrate` again"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_text(us: int) -> str:
    """`YYYY-MM-DD HH:MM:SS.ffffff` in UTC for Unix microseconds, as the table keeps it."""
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%d %H:%M:%S.%f")


def us_of(text: str) -> int:
    """The inverse of `utc_text`."""
    return (datetime.fromisoformat(f"{text}+00:00") - _EPOCH) // timedelta(microseconds=1)


def migrate(path: Path, timeout_seconds: float = 30.0) -> list[str]:
    """Bring the database to this release's schema; the names of the migrations applied now."""
    connection = connect(path, timeout_seconds)
    try:
        connection.execute("BEGIN IMMEDIATE")  # one at a time: the second waits here
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


class SQLiteStore:
    """See `ingest.store.base.Store`. `now_us` is Unix time in microseconds."""

    def __init__(self, path: Path, timeout_seconds: float, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._database = Database(path, timeout_seconds)

    async def start(self) -> None:
        pass  # opens at first use, in its thread

    async def close(self) -> None:
        await self._database.close()

    async def ping(self) -> None:
        await self._run(_check_schema)

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        lease_until = self._now_us() // 1000 + int(lease_seconds * 1000)
        entry = (batch.first_id, len(batch), lease_until, pack(batch))

        def write(connection: sqlite3.Connection) -> None:
            keep_keys(connection, "ingest_keys", batch)
            if _insert(connection, batch):
                connection.execute(INSERT_ENTRY, entry)
            connection.executemany(SETTLE, [(first_id,) for first_id in settled])

        await self._transact(write)
        return False

    async def restore(self, batches: Sequence[Batch]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            for batch in batches:
                keep_keys(connection, "ingest_keys", batch)
                _insert(connection, batch)
            connection.executemany(SETTLE, [(batch.first_id,) for batch in batches])

        await self._transact(write)

    async def settle(self, first_ids: Sequence[int]) -> None:
        keys = [(first_id,) for first_id in first_ids]
        await self._transact(lambda connection: connection.executemany(SETTLE, keys))

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        now_ms = self._now_us() // 1000
        until = now_ms + int(lease_seconds * 1000)

        def lease(connection: sqlite3.Connection) -> list[int]:
            first_ids = [row[0] for row in connection.execute(CLAIMABLE, (now_ms, limit))]
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

    async def lease_slot(self, node: str, lease_seconds: float) -> SlotLease:
        now_ms = self._now_us() // 1000
        until_ms = now_ms + int(lease_seconds * 1000)

        def take(connection: sqlite3.Connection) -> SlotLease:
            free = connection.execute(FREE_SLOT, (now_ms,)).fetchone()
            slot, floor_ms = free or (connection.execute(NEXT_SLOT).fetchone()[0], 0)
            if slot >= SLOTS_MAX:
                raise StoreError(f"All {SLOTS_MAX} id slots are leased; see the table ingest_slots.")
            connection.execute(TAKE_SLOT, (slot, node, until_ms, floor_ms))
            return SlotLease(slot, node, until_ms, floor_ms)

        return await self._transact(take)

    async def renew_slot(self, lease: SlotLease, lease_seconds: float) -> SlotLease | None:
        until_ms = self._now_us() // 1000 + int(lease_seconds * 1000)
        values = (until_ms, lease.floor_ms, lease.slot, lease.node)
        changed = await self._transact(lambda connection: connection.execute(RENEW_SLOT, values).rowcount)
        return SlotLease(lease.slot, lease.node, until_ms, lease.floor_ms) if changed else None

    async def tokens(self) -> list[Token]:
        rows = await self._run(lambda connection: connection.execute(TOKENS).fetchall())
        return [
            Token(digest, name, us_of(created), expires and us_of(expires), *limits)
            for digest, name, created, expires, *limits in rows
        ]

    async def add_token(self, token: Token) -> None:
        expires = token.expires_us and utc_text(token.expires_us)
        row = (token.digest, token.name, utc_text(token.created_us), expires, token.events_per_second, token.burst)
        await self._transact(lambda connection: connection.execute(ADD_TOKEN, row))

    async def expire_tokens(self, digests: Sequence[bytes], expires_us: int) -> None:
        rows = [(utc_text(expires_us), digest) for digest in digests]
        await self._transact(lambda connection: connection.executemany(EXPIRE_TOKEN, rows))

    async def remove_tokens(self, digests: Sequence[bytes]) -> None:
        rows = [(digest,) for digest in digests]
        await self._transact(lambda connection: connection.executemany(REMOVE_TOKEN, rows))

    async def bury(self, batch: Batch, reason: str) -> None:
        died = utc_text(self._now_us())
        rows = [(event_id, reason, died, packed) for event_id, packed in packed_singly(batch)]
        await self._transact(lambda connection: connection.executemany(BURY, rows))

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]:
        rows = await self._run(lambda connection: connection.execute(DEAD_LETTERS, (after_id, limit)).fetchall())
        return [
            DeadLetter(event_id, reason, us_of(died), unpack_one(packed)) for event_id, reason, died, packed in rows
        ]

    async def count_dead(self) -> int:
        return int((await self._run(lambda connection: connection.execute(COUNT_DEAD).fetchone()))[0])

    async def revive(self, event_ids: Sequence[int]) -> int:
        def move(connection: sqlite3.Connection) -> int:
            connection.executemany(REVIVE, [(self._now_us() // 1000, event_id) for event_id in event_ids])
            return connection.executemany(DROP_DEAD, [(event_id,) for event_id in event_ids]).rowcount

        return await self._transact(move)

    async def drop_dead(self, event_ids: Sequence[int]) -> int:
        rows = [(event_id,) for event_id in event_ids]
        return await self._transact(lambda connection: connection.executemany(DROP_DEAD, rows).rowcount)

    async def count_events(self, selection: Selection) -> int:
        condition, values = _where(selection)
        row = await self._run(lambda connection: connection.execute(COUNT_EVENTS + condition, values).fetchone())
        return int(row[0])

    async def read_events(self, selection: Selection, limit: int) -> list[tuple[int, Event]]:
        condition, values = _where(selection)
        statement = f"{READ_EVENTS}{condition} ORDER BY id LIMIT ?"
        rows = await self._run(lambda connection: connection.execute(statement, (*values, limit)).fetchall())
        return [(row[0], Event(row[1], row[2], row[3].encode())) for row in rows]

    async def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with _translated():
            return await self._database.transact(work)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with _translated():
            return await self._database.run(work)


def _insert(connection: sqlite3.Connection, batch: Batch) -> bool:
    """Insert the rows; False if just they are there already."""
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
    return False


def _where(selection: Selection) -> tuple[str, Sequence[str | int]]:
    """The condition that an event is one of the selection, and its values."""
    condition = "id BETWEEN ? AND ?"
    found: list[str | int] = [selection.first_id, selection.last_id]
    columns: dict[str, Sequence[str | int]] = {
        "call_id": selection.call_ids,
        "event_type": selection.event_types,
        "id": selection.ids,
    }
    for column, wanted in columns.items():
        if wanted:
            condition += f" AND {column} IN ({','.join('?' * len(wanted))})"
            found += wanted
    return condition, found


def _check_schema(connection: sqlite3.Connection) -> None:
    version = connection.execute(VERSION).fetchone()[0] or 0
    if version < newest_version("sqlite"):
        raise SchemaError("The database's schema is older than this version: run `ingest migrate`.")


@contextmanager
def _translated() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        if str(exc).startswith(("no such table", "no such column")):
            raise SchemaError(f"The schema is not this version's ({exc}): run `ingest migrate`.") from exc
        raise StoreUnavailable(f"SQLite: {exc}. The event was not acknowledged: send it again.") from exc
    except (sqlite3.DataError, sqlite3.IntegrityError) as exc:
        raise RowRefused(f"SQLite refused the event: {exc}.") from exc
    except (sqlite3.Error, OSError) as exc:
        raise StoreUnavailable(f"SQLite: {exc}.") from exc

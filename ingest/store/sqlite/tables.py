"""The SQLite store without its event path: connection, tokens, dead letters, and events read back."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from ingest.auth.tokens import Token
from ingest.errors import BatchRefused, SchemaError, StoreUnavailable
from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack_one
from ingest.events.event import Event
from ingest.outbox.base import COUNTED_MAX
from ingest.outbox.dead_letters import DeadLetter, packed_singly
from ingest.sqlite import Connect, Database, connect
from ingest.store.event_query import EventFilter

T = TypeVar("T")

TOKENS = """SELECT digest, name, created_time, expires_time, events_per_second, burst, scope
    FROM ingest_tokens ORDER BY created_time, digest"""
ADD_TOKEN = """INSERT INTO ingest_tokens (digest, name, created_time, expires_time, events_per_second, burst, scope)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""  # noqa: S105 - SQL, as below
EXPIRE_TOKEN = """UPDATE ingest_tokens SET expires_time = MIN(COALESCE(expires_time, ?1), ?1) WHERE digest = ?2"""  # noqa: S105
REMOVE_TOKEN = "DELETE FROM ingest_tokens WHERE digest = ?"  # noqa: S105
NEWEST_ID = "SELECT COALESCE(MAX(id), 0) FROM call_event_logs"
COUNT_EVENTS = "SELECT COUNT(*) FROM call_event_logs WHERE "
READ_EVENTS = "SELECT id, call_id, event_type, payload FROM call_event_logs WHERE "
ADD_DEAD_LETTER = "INSERT OR IGNORE INTO ingest_dead_letters (event_id, reason, died_time, batch) VALUES (?, ?, ?, ?)"
DEAD_LETTERS = """SELECT event_id, reason, died_time, batch FROM ingest_dead_letters
    WHERE event_id > ? ORDER BY event_id LIMIT ?"""
COUNT_DEAD_LETTERS = f"SELECT COUNT(*) FROM (SELECT 1 FROM ingest_dead_letters LIMIT {COUNTED_MAX})"
REQUEUE = """INSERT INTO ingest_outbox (first_id, count, lease_until, batch)
    SELECT event_id, 1, ?, batch FROM ingest_dead_letters WHERE event_id = ?"""
DROP_DEAD_LETTER = "DELETE FROM ingest_dead_letters WHERE event_id = ?"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_text(us: int) -> str:
    """`YYYY-MM-DD HH:MM:SS.ffffff` in UTC for Unix microseconds, as the table keeps it."""
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%d %H:%M:%S.%f")


def us_of(text: str) -> int:
    """The inverse of `utc_text`."""
    return (datetime.fromisoformat(f"{text}+00:00") - _EPOCH) // timedelta(microseconds=1)


class SQLiteTables:
    """Implements `TokenTable`, `DeadLetterTable` and `EventTable`. `now_us` is Unix time in microseconds."""

    def __init__(
        self, path: Path, timeout_seconds: float, now_us: Callable[[], int], connect: Connect = connect
    ) -> None:
        self._now_us = now_us
        self._database = Database(path, timeout_seconds, connect=connect)

    async def clock_us(self) -> int:
        return self._now_us()

    async def tokens(self) -> list[Token]:
        rows = await self._run(lambda connection: connection.execute(TOKENS).fetchall())
        return [
            Token(digest, name, us_of(created), expires and us_of(expires), *limits)
            for digest, name, created, expires, *limits in rows
        ]

    async def add_token(self, token: Token) -> None:
        expires = token.expires_us and utc_text(token.expires_us)
        limits = (token.events_per_second, token.burst)
        row = (token.digest, token.name, utc_text(token.created_us), expires, *limits, token.scope)
        await self._transact(lambda connection: connection.execute(ADD_TOKEN, row))

    async def expire_tokens(self, digests: Sequence[bytes], expires_us: int) -> None:
        rows = [(utc_text(expires_us), digest) for digest in digests]
        await self._transact(lambda connection: connection.executemany(EXPIRE_TOKEN, rows))

    async def remove_tokens(self, digests: Sequence[bytes]) -> None:
        rows = [(digest,) for digest in digests]
        await self._transact(lambda connection: connection.executemany(REMOVE_TOKEN, rows))

    async def add_dead(self, batch: Batch, reason: str) -> None:
        died = utc_text(self._now_us())
        rows = [(event_id, reason, died, packed) for event_id, packed in packed_singly(batch)]
        await self._transact(lambda connection: connection.executemany(ADD_DEAD_LETTER, rows))

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]:
        rows = await self._run(lambda connection: connection.execute(DEAD_LETTERS, (after_id, limit)).fetchall())
        return [
            DeadLetter(event_id, reason, us_of(died), unpack_one(packed)) for event_id, reason, died, packed in rows
        ]

    async def count_dead(self) -> int:
        return int((await self._run(lambda connection: connection.execute(COUNT_DEAD_LETTERS).fetchone()))[0])

    async def requeue_dead(self, event_ids: Sequence[int]) -> int:
        def move(connection: sqlite3.Connection) -> int:
            connection.executemany(REQUEUE, [(self._now_us() // 1000, event_id) for event_id in event_ids])
            return connection.executemany(DROP_DEAD_LETTER, [(event_id,) for event_id in event_ids]).rowcount

        return await self._transact(move)

    async def drop_dead(self, event_ids: Sequence[int]) -> int:
        rows = [(event_id,) for event_id in event_ids]
        return await self._transact(lambda connection: connection.executemany(DROP_DEAD_LETTER, rows).rowcount)

    async def newest_id(self) -> int:
        return int((await self._run(lambda connection: connection.execute(NEWEST_ID).fetchone()))[0])

    async def count_events(self, selection: EventFilter) -> int:
        condition, values = _where(selection)
        row = await self._run(lambda connection: connection.execute(COUNT_EVENTS + condition, values).fetchone())
        return int(row[0])

    async def read_events(self, selection: EventFilter, limit: int) -> list[tuple[int, Event]]:
        condition, values = _where(selection)
        statement = f"{READ_EVENTS}{condition} ORDER BY id LIMIT ?"
        rows = await self._run(lambda connection: connection.execute(statement, (*values, limit)).fetchall())
        return [(row[0], Event(row[1], row[2], row[3].encode())) for row in rows]

    async def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with translated():
            return await self._database.transact(work)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with translated():
            return await self._database.run(work)


def _where(selection: EventFilter) -> tuple[str, Sequence[str | int]]:
    """The condition that selects these events, and its values."""
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


@contextmanager
def translated() -> Iterator[None]:
    """Translate SQLite's errors to those of the service."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        if str(exc).startswith(("no such table", "no such column")):
            raise SchemaError(
                f"The schema is not this version's ({exc}): run `ingest migrate`.", unmigrated=True
            ) from exc
        raise StoreUnavailable(f"SQLite: {exc}. The event was not acknowledged; retry.") from exc
    except (sqlite3.DataError, sqlite3.IntegrityError) as exc:
        raise BatchRefused(
            f"SQLite refused the batch: {exc}."
        ) from exc  # a constraint or trigger that the service did not make
    except FileNotFoundError as exc:
        raise SchemaError("There is no database file yet: run `ingest migrate`.", unmigrated=True) from exc
    except (sqlite3.Error, OSError) as exc:
        raise StoreUnavailable(f"SQLite: {exc}.") from exc

"""The index of the segments: which records wait, and where. SQLite tables in memory, about 65 bytes a record."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from ingest.events.batch import Batch
from ingest.events.ids import LEASED_SLOTS_MAX, SEQUENCE_BITS, SLOTS_MAX
from ingest.spool.records import RECORD_BYTES, Place, Usage
from ingest.sqlite import transact
from ingest.store.sqlite.keys import keep_keys

T = TypeVar("T")

SCHEMA = """
CREATE TABLE spool (first_id INTEGER PRIMARY KEY, count INTEGER NOT NULL, lease_until INTEGER,
    segment INTEGER NOT NULL, place INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE INDEX spool_lease_until ON spool (lease_until);
CREATE TABLE refused (first_id INTEGER NOT NULL, count INTEGER NOT NULL, reason TEXT NOT NULL,
    segment INTEGER NOT NULL, place INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE keys (digest BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, event_id INTEGER NOT NULL) WITHOUT ROWID;
"""
"""A record's lease ends at a time in milliseconds of the monotonic clock: a clock that is set back prolongs no lease.

The lease of a published record is NULL. Leases are only in memory, so they end with their process.
"""
ROW = "first_id, count, lease_until, segment, place, size"
REFUSED_ROW = "first_id, count, reason, segment, place, size"
"""The last three columns of both are a `Place`; its offset is in the column `place`."""
INSERT = f"INSERT INTO spool ({ROW}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
INSERT_NEW = INSERT.replace("INSERT", "INSERT OR IGNORE", 1)
SETTLE = "UPDATE spool SET lease_until = NULL WHERE first_id = ?"
PROVISIONAL = f"(first_id >> {SEQUENCE_BITS} & {SLOTS_MAX - 1}) >= {LEASED_SLOTS_MAX}"
"""Such a record is not published before it has other ids (`ingest.pipeline.identity`)."""
CLAIMABLE = f"""SELECT first_id FROM spool WHERE lease_until <= ? AND NOT {PROVISIONAL}
    ORDER BY lease_until, first_id LIMIT ?"""  # noqa: S608 - constants
LEASE = "UPDATE spool SET lease_until = ? WHERE first_id = ? AND lease_until IS NOT NULL"
ONE = f"SELECT {ROW} FROM spool WHERE first_id = ?"  # noqa: S608
ANY_FREE = "SELECT 1 FROM spool WHERE lease_until IS NULL UNION ALL SELECT 1 FROM spool WHERE lease_until <= ? LIMIT 1"
OLDEST = f"SELECT {ROW} FROM spool WHERE lease_until IS NULL OR lease_until <= ? ORDER BY first_id LIMIT ?"  # noqa: S608
ALL = f"SELECT {ROW} FROM spool WHERE first_id > ? ORDER BY first_id LIMIT ?"  # noqa: S608
OF_SEGMENT = f"SELECT {ROW} FROM spool WHERE segment = ? LIMIT ?"  # noqa: S608
MOVE = "UPDATE spool SET segment = ?, place = ? WHERE first_id = ?"
REMOVE = "DELETE FROM spool WHERE first_id = ?"
FREE = """UPDATE spool SET lease_until = 0 WHERE first_id IN
    (SELECT first_id FROM spool WHERE lease_until = ? ORDER BY first_id LIMIT ?)"""
FIRST = "SELECT MIN(first_id) FROM spool"
UNPUBLISHED = "SELECT COALESCE(SUM(count), 0) FROM spool WHERE lease_until IS NOT NULL"
REFUSE = f"INSERT INTO refused ({REFUSED_ROW}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
ALL_REFUSED = f"SELECT {REFUSED_ROW} FROM refused ORDER BY first_id"  # noqa: S608
REMOVE_REFUSED = "DELETE FROM refused WHERE segment = ? AND place = ?"
NEVER = -1
"""A time before the end of every lease."""
LOADING = 1 << 62
"""The lease of a record that is being loaded. It is published only after all older records are loaded."""


class Row(NamedTuple):
    first_id: int
    events: int
    lease_until: int | None
    place: Place


class RefusedRow(NamedTuple):
    first_id: int
    events: int
    reason: str
    place: Place


class Index:
    """The index may be used by one thread only.

    It calls `counted(segment, change)` when rows are added, or removed (a negative change).
    """

    def __init__(self, counted: Callable[[int, int], None]) -> None:
        self._counted = counted
        self.usage = Usage()
        self.used = False
        """True if it may hold rows or keys. Any thread may ask."""
        self._connection = _opened()

    def transact(self, work: Callable[[], T]) -> T:
        """Do all of the work or none of it. The counts are not rolled back."""
        return transact(self._connection, lambda _: work())

    def keep_keys(self, batch: Batch) -> None:
        """Raises `DuplicateKeys`."""
        self.used = True
        keep_keys(self._connection, "keys", batch)

    def add(self, row: Row) -> None:
        self._connection.execute(INSERT, _flat(row))
        self._count([row], 1)

    def add_new(self, rows: Sequence[Row]) -> list[Row]:
        """Add rows of one segment. Return those that are not added, because other rows have their ids."""
        all_new = self._connection.executemany(INSERT_NEW, map(_flat, rows)).rowcount == len(rows)
        others = [] if all_new else [row for row in rows if self.find(row.first_id) != row]
        self._count(rows, 1)
        self._count(others, -1)
        return others

    def find(self, first_id: int) -> Row | None:
        return next(self._rows(ONE, first_id), None)

    def settle(self, first_ids: Sequence[int]) -> None:
        self._connection.executemany(SETTLE, [(first_id,) for first_id in first_ids])

    def claimable(self, now_ms: int, limit: int) -> list[int]:
        return [row[0] for row in self._connection.execute(CLAIMABLE, (now_ms, limit))]

    def lease(self, until: int | None, first_ids: Sequence[int]) -> None:
        """Change the leases of those that are not published."""
        self._connection.executemany(LEASE, [(until, first_id) for first_id in first_ids])

    def oldest(self, free_ms: int, limit: int) -> list[Row]:
        """The oldest records that are published, or whose lease has ended by then."""
        if not self._connection.execute(ANY_FREE, (free_ms,)).fetchone():
            return []  # otherwise the query would read all rows
        return list(self._rows(OLDEST, free_ms, limit))

    def after(self, first_id: int, limit: int) -> list[Row]:
        return list(self._rows(ALL, first_id, limit))

    def of_segment(self, segment: int, limit: int) -> list[Row]:
        return list(self._rows(OF_SEGMENT, segment, limit))

    def move(self, row: Row, place: Place) -> None:
        self._connection.execute(MOVE, (place.segment, place.offset, row.first_id))
        self._counted(row.place.segment, -1)
        self._counted(place.segment, 1)

    def remove(self, first_id: int) -> bool:
        """Return False if there is no such record."""
        row = self.find(first_id)
        if row:
            self._connection.execute(REMOVE, (first_id,))
            self._count([row], -1)
        return row is not None

    def free(self, limit: int) -> bool:
        """Let up to `limit` loaded records be published, the oldest first. Return True if there may be more."""
        return self._connection.execute(FREE, (LOADING, limit)).rowcount == limit

    def refuse(self, row: RefusedRow) -> None:
        self._connection.execute(REFUSE, _flat(row))
        self._count_refused(row, 1)

    def refused(self) -> list[RefusedRow]:
        rows = self._connection.execute(ALL_REFUSED)
        return [RefusedRow(first_id, events, reason, Place(*place)) for first_id, events, reason, *place in rows]

    def remove_refused(self, row: RefusedRow) -> None:
        self._connection.execute(REMOVE_REFUSED, row.place[:2])
        self._count_refused(row, -1)

    def first_id(self) -> int | None:
        found: int | None = self._connection.execute(FIRST).fetchone()[0]
        return found

    def unpublished(self) -> int:
        """The number of events that are not published."""
        found: int = self._connection.execute(UNPUBLISHED).fetchone()[0]
        return found

    def forget_keys(self) -> None:
        """Drop the idempotency keys: the database has them now. This also frees the memory of an empty index."""
        refused = self.refused()
        self.used = False
        self._connection.close()
        self._connection = _opened()
        self._connection.executemany(REFUSE, map(_flat, refused))

    def close(self) -> None:
        self._connection.close()

    def _rows(self, sql: str, *values: int) -> Iterator[Row]:
        rows = self._connection.execute(sql, values)
        return (Row(first_id, events, lease_until, Place(*place)) for first_id, events, lease_until, *place in rows)

    def _count(self, rows: Sequence[Row], sign: int) -> None:
        """Count rows of one segment as added (`sign` 1) or removed (-1)."""
        if rows:
            self.used = True
            self._counted(rows[0].place.segment, sign * len(rows))
            events, size = sum(row.events for row in rows), sum(row.place.size + RECORD_BYTES for row in rows)
            old = self.usage
            self.usage = Usage(
                old.records + sign * len(rows), old.events + sign * events, old.bytes + sign * size, old.refused_events
            )

    def _count_refused(self, row: RefusedRow, sign: int) -> None:
        self._counted(row.place.segment, sign)
        old = self.usage
        self.usage = Usage(old.records, old.events, old.bytes, old.refused_events + sign * row.events)


def _flat(row: Row | RefusedRow) -> tuple[int | str | None, ...]:
    return (*row[:3], *row.place)


def _opened() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(SCHEMA)
    return connection

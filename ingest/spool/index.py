"""What waits in the segments, and where: SQLite's tables, in memory alone. Some 65 bytes a record."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

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
"""A record's lease ends at a time in Unix ms; without one (NULL) it is published."""
ROW = "first_id, count, lease_until, segment, place, size"
REFUSED_ROW = "first_id, count, reason, segment, place, size"
"""Both have the place in the same columns."""
INSERT = f"INSERT INTO spool ({ROW}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
INSERT_NEW = INSERT.replace("INSERT", "INSERT OR IGNORE", 1)
SETTLE = "UPDATE spool SET lease_until = NULL WHERE first_id = ?"
PROVISIONAL = f"(first_id >> {SEQUENCE_BITS} & {SLOTS_MAX - 1}) >= {LEASED_SLOTS_MAX}"
"""Nobody publishes such a record before it has other ids (`ingest.pipeline.identity`)."""
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
"""A time before every lease's end."""
LOADING = 1 << 62
"""The lease of what is still being loaded: it is published when all that is older is known."""

Row = tuple[int, int, int | None, int, int, int]
"""First id, count, lease, and the place."""
RefusedRow = tuple[int, int, str, int, int, int]
"""First id, count, reason, and the place."""


class Index:
    """Of one thread. `counted` is told of rows that come or go: their segment, and how many, below 0 if they go."""

    def __init__(self, counted: Callable[[int, int], None]) -> None:
        self._counted = counted
        self._usage = Usage()
        self._connection = _opened()

    @property
    def usage(self) -> Usage:
        return self._usage

    def transact(self, work: Callable[[], T]) -> T:
        """All of the work, or nothing of it but what it has counted."""
        return transact(self._connection, lambda _: work())

    def keep_keys(self, batch: Batch) -> None:
        """Raises `DuplicateKeys`."""
        keep_keys(self._connection, "keys", batch)

    def add(self, first_id: int, count: int, lease_until: int | None, place: Place) -> None:
        self._connection.execute(INSERT, (first_id, count, lease_until, *place))
        self._count(place.segment, 1, count, place.size + RECORD_BYTES)

    def add_new(self, rows: Sequence[Row]) -> list[Row]:
        """Rows of one segment; returns those that are not added, as others have their ids."""
        all_new = self._connection.executemany(INSERT_NEW, rows).rowcount == len(rows)
        others = [] if all_new else [row for row in rows if self.find(row[0]) != row]
        for sign, counted in ((1, rows), (-1, others)):
            if counted:
                size = sum(row[5] + RECORD_BYTES for row in counted)
                self._count(counted[0][3], sign * len(counted), sign * sum(row[1] for row in counted), sign * size)
        return others

    def find(self, first_id: int) -> Row | None:
        return next(self._rows(ONE, first_id), None)

    def settle(self, first_ids: Sequence[int]) -> None:
        self._connection.executemany(SETTLE, [(first_id,) for first_id in first_ids])

    def claimable(self, now_ms: int, limit: int) -> list[int]:
        return [row[0] for row in self._connection.execute(CLAIMABLE, (now_ms, limit))]

    def lease(self, until: int | None, first_ids: Sequence[int]) -> None:
        """Those that are not published."""
        self._connection.executemany(LEASE, [(until, first_id) for first_id in first_ids])

    def oldest(self, free_ms: int, limit: int) -> list[Row]:
        """Published ones, and those whose lease is over by then."""
        if not self._connection.execute(ANY_FREE, (free_ms,)).fetchone():
            return []  # else all would be looked at
        return list(self._rows(OLDEST, free_ms, limit))

    def after(self, first_id: int, limit: int) -> list[Row]:
        return list(self._rows(ALL, first_id, limit))

    def of_segment(self, segment: int, limit: int) -> list[Row]:
        return list(self._rows(OF_SEGMENT, segment, limit))

    def move(self, row: Row, place: Place) -> None:
        self._connection.execute(MOVE, (place.segment, place.place, row[0]))
        self._counted(row[3], -1)
        self._counted(place.segment, 1)

    def remove(self, first_id: int) -> bool:
        """Whether it was there."""
        row = self.find(first_id)
        if row:
            self._connection.execute(REMOVE, (first_id,))
            self._count(row[3], -1, -row[1], -row[5] - RECORD_BYTES)
        return row is not None

    def free(self, limit: int) -> bool:
        """What was being loaded is to be published, the oldest first; whether there may be more."""
        return self._connection.execute(FREE, (LOADING, limit)).rowcount == limit

    def refuse(self, first_id: int, count: int, reason: str, place: Place) -> None:
        self._connection.execute(REFUSE, (first_id, count, reason, *place))
        self._count_refused(place, count, 1)

    def refused(self) -> list[RefusedRow]:
        return list(self._connection.execute(ALL_REFUSED))

    def remove_refused(self, row: RefusedRow) -> None:
        self._connection.execute(REMOVE_REFUSED, row[3:5])
        self._count_refused(Place(*row[3:]), -row[1], -1)

    def first_id(self) -> int | None:
        found: int | None = self._connection.execute(FIRST).fetchone()[0]
        return found

    def unpublished(self) -> int:
        """Events."""
        found: int = self._connection.execute(UNPUBLISHED).fetchone()[0]
        return found

    def forget_keys(self) -> None:
        """The database has them by now. An index without records gives its memory back, too."""
        refused = self.refused()
        self._connection.close()
        self._connection = _opened()
        self._connection.executemany(REFUSE, refused)

    def close(self) -> None:
        self._connection.close()

    def _rows(self, sql: str, *values: int) -> Iterator[Row]:
        return iter(self._connection.execute(sql, values))

    def _count(self, segment: int, records: int, events: int, size: int) -> None:
        self._counted(segment, records)
        usage = self._usage
        self._usage = Usage(usage.records + records, usage.events + events, usage.bytes + size, usage.refused_events)

    def _count_refused(self, place: Place, events: int, sign: int) -> None:
        self._counted(place.segment, sign)
        usage = self._usage
        self._usage = Usage(usage.records, usage.events, usage.bytes, usage.refused_events + events)


def _opened() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(SCHEMA)
    return connection

"""Tables in memory: rows by their primary key, each with its committed values and those of one open transaction."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from tests.simulation.mysql.errors import error
from tests.simulation.mysql.sql.context import Row
from tests.simulation.mysql.sql.nodes import ColumnDefinition
from tests.simulation.mysql.storage.locks import Lock, Owner

Convert = Callable[[Any, int], Any]
"""Makes a column's value of another one, for the row of that number. Raises the server's error."""


class Schema(msgspec.Struct, frozen=True, eq=False):
    """A table's definition. Tables that are alike may share it."""

    columns: tuple[ColumnDefinition, ...]
    converters: tuple[Convert, ...]
    key: int
    """The place of the primary key, which is one column."""
    indexes: tuple[tuple[str, tuple[str, ...]], ...]
    places: dict[str, int]

    def place(self, name: str) -> int:
        found = self.places.get(name)
        if found is None:
            raise error(1054, name, "field list")
        return found


class Record:
    """`pending` are the values that the transaction `writer` has not committed. None means that there is no row."""

    __slots__ = ("committed", "key", "lock", "pending", "table", "writer")

    def __init__(self, table: "Table", key: Any) -> None:
        self.table = table
        self.key = key
        self.committed: Row | None = None
        self.pending: Row | None = None
        self.writer: Transaction | None = None
        self.lock: Lock | None = None

    def seen_by(self, transaction: "Transaction | None") -> Row | None:
        return self.pending if self.writer is transaction and transaction is not None else self.committed

    @property
    def is_dead(self) -> bool:
        """True for a deleted row. It stays while somebody has or waits for its lock, as InnoDB's deleted rows do."""
        return self.committed is None and self.writer is None

    def its_lock(self) -> Lock:
        """The lock of the row. Its writer has it already, like InnoDB's implicit locks."""
        if self.lock is None:
            self.lock = RowLock(self)
        if self.writer is not None and not self.lock.has(self.writer, exclusive=True):
            self.lock.grant(self.writer, exclusive=True)
        return self.lock


class RowLock(Lock):
    __slots__ = ("_record",)

    def __init__(self, record: Record) -> None:
        super().__init__(record.table)
        self._record = record

    def release(self, owner: Owner) -> None:
        super().release(owner)
        record = self._record
        if record.is_dead and not self.holders and not self.queue:
            record.table.forget(record)


class Partition(msgspec.Struct, frozen=True):
    """`end` is the first key after it, or None for MAXVALUE."""

    name: str
    end: int | None


class Table:
    def __init__(self, name: str, schema: Schema) -> None:
        self.name = name
        self.schema = schema
        self.partitions: list[Partition] = []
        self.lock = Lock("table")
        """Transactions that use the table have it shared, a change of the table exclusively."""
        self._records: dict[Any, Record] = {}
        self._keys: list[Any] = []

    def copy(self) -> "Table":
        made = Table(self.name, self.schema)
        made.partitions = list(self.partitions)
        for key in self._keys:
            made.add(key).committed = self._records[key].committed
        return made

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: Any) -> Record | None:
        return self._records.get(key)

    def add(self, key: Any) -> Record:
        found = self._records[key] = Record(self, key)
        if self._keys and key < self._keys[-1]:
            insort(self._keys, key)
        else:
            self._keys.append(key)
        return found

    def remove(self, key: Any) -> Record:
        del self._keys[bisect_left(self._keys, key)]
        return self._records.pop(key)

    def records(self) -> Iterable[Record]:
        return self._records.values()

    def keys(self, low: Any, high: Any) -> list[Any]:
        """The keys between these two, both included, in order. A bound may be None."""
        begin = 0 if low is None else bisect_left(self._keys, low)
        end = len(self._keys) if high is None else bisect_right(self._keys, high)
        return self._keys[begin:end]

    def forget(self, record: Record) -> None:
        if self._records.get(record.key) is record:
            self.remove(record.key)

    def committed_rows(self) -> Iterator[Row]:
        for key in self._keys:
            if (row := self._records[key].committed) is not None:
                yield row

    def range_of(self, partition: str) -> tuple[Any, Any]:
        """The lowest and the highest key of a partition."""
        low = None
        for one in self.partitions:
            if one.name == partition:
                return low, None if one.end is None else one.end - 1
            low = one.end
        raise error(1735, partition, self.name)

    def check_partition(self, key: Any) -> None:
        if self.partitions and (end := self.partitions[-1].end) is not None and key >= end:
            raise error(1526, key)


class Change(msgspec.Struct, frozen=True):
    """A row's values before a transaction's first change of it, or before its later one."""

    table: Table
    key: Any
    record: Record
    was_written: bool
    before: Row | None


class Transaction(Owner):
    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []
        self.ended = False

    @property
    def weight(self) -> int:
        return super().weight + len(self.changes)

    def write(self, table: Table, key: Any, record: Record, values: Row | None) -> None:
        """The transaction must have the row's lock, or have added the row."""
        mine = record.writer is self
        self.changes.append(Change(table, key, record, mine, record.pending if mine else None))
        record.writer = self
        record.pending = values

    def back_to(self, count: int) -> None:
        """Undo all changes but the first ones."""
        while len(self.changes) > count:
            change = self.changes.pop()
            record = change.record
            record.pending = change.before
            if not change.was_written:
                record.writer = None
                if record.committed is None:
                    _take_back(record)

    def commit(self) -> list[tuple[Table, Any, Row | None]]:
        """Return the rows as they were before: the table, the key and the values."""
        before = []
        for change in self.changes:
            record = change.record
            if record.writer is not self:
                continue  # an earlier change of the same row
            before.append((change.table, change.key, record.committed))
            record.committed, record.pending, record.writer = record.pending, None, None
            if record.committed is None and record.lock is None:
                change.table.forget(record)
        self._end()
        return before

    def roll_back(self) -> None:
        self.back_to(0)
        self._end()

    def _end(self) -> None:
        self.ended = True
        self.changes.clear()
        self.release_locks()


def _take_back(record: Record) -> None:
    """Remove a row that was inserted and rolled back. Those who wait for its lock find out."""
    record.table.forget(record)
    if record.lock is not None:
        for owner in list(record.lock.holders):
            record.lock.release(owner)

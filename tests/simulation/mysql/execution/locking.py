"""Takes the locks of rows, as InnoDB does with READ COMMITTED: of existing rows only, and no gaps between them."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from tests.simulation.mysql.execution.reading import Query
from tests.simulation.mysql.execution.relations import Reads
from tests.simulation.mysql.sql.context import Context, Row
from tests.simulation.mysql.storage.locks import acquire
from tests.simulation.mysql.storage.tables import Record, Table, Transaction

Matches = Callable[[Row], Any]


class Writes(Reads, Protocol):
    @property
    def row_wait_seconds(self) -> float:
        """innodb_lock_wait_timeout."""

    @property
    def transaction(self) -> Transaction:
        """The open one. A statement that writes begins one."""


async def lock_row(session: Writes, table: Table, key: Any, exclusive: bool) -> Record | None:
    """Wait for the row's lock. None if there is no such row then."""
    transaction = session.transaction
    while (record := table.get(key)) is not None:
        if record.writer is transaction:
            return record
        await acquire(record.its_lock(), transaction, exclusive, session.row_wait_seconds)
        if table.get(key) is record:
            return record
        record.its_lock().release(transaction)
    return None


async def locked_rows(
    session: Writes,
    table: Table,
    keys: Sequence[Any],
    matches: Matches,
    *,
    exclusive: bool = True,
    skips_locked: bool = False,
    looks_first: bool = False,
) -> AsyncIterator[tuple[Any, Record, Row]]:
    """Lock and yield the rows that match, in the order of `keys`. Rows that do not match are unlocked again.

    `looks_first`: a locked row whose committed values do not match is not waited for, as when an UPDATE reads a range.
    """
    transaction = session.transaction
    for key in keys:
        record = table.get(key)
        if record is None or (_is_unlocked(record) and not _matches(record.committed, matches)):
            continue  # to lock a free row that does not match, and to unlock it, changes nothing
        is_new = record.writer is not transaction and not record.its_lock().has(transaction, exclusive)
        waits = is_new and not record.its_lock().is_free_for(transaction, exclusive)
        if waits and (skips_locked or (looks_first and not _matches(record.committed, matches))):
            continue
        found = await lock_row(session, table, key, exclusive)
        if found is None:
            continue
        row = found.seen_by(transaction)
        if row is not None and matches(row):
            yield key, found, row
        elif is_new:
            found.its_lock().release(transaction)


def _is_unlocked(record: Record) -> bool:
    return record.writer is None and (record.lock is None or record.lock.is_unused)


def _matches(row: Row | None, matches: Matches) -> bool:
    return row is not None and bool(matches(row))


async def locking_rows(query: Query, context: Context, session: Writes) -> list[Row]:
    """The rows of a SELECT … FOR UPDATE, or LOCK IN SHARE MODE, of one table."""
    select, relation = query.select, query.table
    table = session.table(relation.source.table)
    begin, end = query.bounds(context)

    def matches(row: Row) -> Any:
        context.row = row
        return query.where is None or query.where(context)

    keys = query.ordered_keys(context, table)
    found: list[Row] = []
    rows = locked_rows(
        session,
        table,
        keys,
        matches,
        exclusive=select.lock == "update",
        skips_locked=select.skips_locked,
    )
    async for _, _, row in rows:
        found.append(row)
        if query.is_ordered_by_index and end is not None and len(found) >= end:
            break
    return [query.output(row, context) for row in query.ordered(found, context)[begin:end]]

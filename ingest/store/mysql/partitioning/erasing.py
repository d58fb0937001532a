"""Finds and erases events on MySQL and MariaDB, a page at a time, under the lock of the partitions.

No statement has a phone number in it: the server's logs would keep it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ingest.erasure.database import Newest, Packed, StoredEvent
from ingest.errors import StoreError
from ingest.events.batch import Batch
from ingest.events.batch_codec import pack
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.errors import Retry
from ingest.store.mysql.laravel.tables import ASIDE, IDS, OURS, unfinished_adoption
from ingest.store.mysql.partitioning.pages import last_id_of_page
from ingest.store.mysql.partitioning.partitions import GET_LOCK
from ingest.store.mysql.partitioning.unfinished import existing, unfinished
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.statements.commit import insert_events
from ingest.store.mysql.statements.dead_letters import DROP as DROP_LETTERS
from ingest.store.mysql.statements.literals import listed, quoted
from ingest.store.mysql.statements.outbox import INSERT_ENTRY

STATEMENT_SECONDS = 10
SESSION = (
    b"SET SESSION lock_wait_timeout = 5 /*M! , max_statement_time = %d */ /*!80000 , max_execution_time = %d */"
    % (
        STATEMENT_SECONDS,
        STATEMENT_SECONDS * 1000,
    )
)
EVENTS = b"SELECT id, call_id, CAST(payload AS CHAR) FROM call_event_logs%b WHERE id > %d AND id <= %d%b ORDER BY id"
SIZES = b"SELECT id, LENGTH(payload) FROM call_event_logs%b WHERE id > %d%b ORDER BY id LIMIT %d"
OF_CALLS = b" AND call_id IN (%b)"
BY_CALL = b" IGNORE INDEX FOR ORDER BY (PRIMARY)"
"""Otherwise the server may read all rows in the order of their ids, until it has found enough of these calls."""
NEWEST = (
    b"SELECT (SELECT COALESCE(MAX(id), 0) FROM call_event_logs), "
    b"(SELECT COALESCE(MAX(first_id), 0) FROM ingest_outbox), "
    b"(SELECT COALESCE(MAX(event_id), 0) FROM ingest_dead_letters)"
)
ENTRIES = b"SELECT first_id, batch FROM ingest_outbox WHERE first_id > %d ORDER BY first_id LIMIT %d"
LETTERS = b"SELECT event_id, batch FROM ingest_dead_letters WHERE event_id > %d ORDER BY event_id LIMIT %d"
ENTRY = b"SELECT batch FROM ingest_outbox WHERE first_id = %d FOR UPDATE"
REPLACE = b"UPDATE ingest_outbox SET batch = _binary%b WHERE first_id = %d"
DELETE_EVENTS = b"DELETE FROM call_event_logs WHERE id IN (%b)"
DELETE_ASIDE = (
    b"DELETE old FROM %b AS old JOIN ingest_adopted_ids AS m ON m.old_id = old.id WHERE m.id IN (%%b)" % ASIDE
)
OLDEST_WITHOUT_COPY = (
    b"SELECT 1 FROM %b AS old LEFT JOIN ingest_adopted_ids AS m ON m.old_id = old.id LEFT JOIN call_event_logs AS e "
    b"ON e.id = m.id WHERE old.id = (SELECT MIN(id) FROM %b) AND e.id IS NULL" % (ASIDE, ASIDE)
)
"""Retention drops the oldest rows first, and their copies aside stay."""
OTHER_TABLE = (
    "{} also holds events, and was not searched. If the way back to the original is no longer needed, drop that table."
)
LOCK_SECONDS = 5
"""Shorter than the limit of a statement, of which the wait for the lock is one."""
RETRIES_MAX = 5
RETRY_PAUSE_SECONDS = 0.1


class MySQLErasable:
    """Implements `ingest.erasure.database.ErasableDatabase` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._has_aside = False

    @classmethod
    async def open(cls, servers: Servers, timeout_seconds: float) -> "MySQLErasable":
        connection = await servers.connect(timeout_seconds)
        await connection.run(SESSION)
        return cls(connection)

    async def lock(self) -> bool:
        return bool((await self._connection.run(GET_LOCK % LOCK_SECONDS))[0][0])

    async def check(self) -> list[str]:
        connection = self._connection
        if found := [*await unfinished(connection), *await unfinished_adoption(connection)]:
            raise StoreError(f"{' '.join(found)} Nothing was erased: do that first.")
        self._has_aside = await existing(connection, ASIDE) and await existing(connection, IDS)
        other = [OURS] if await existing(connection, OURS) else []
        if self._has_aside and await connection.run(OLDEST_WITHOUT_COPY):
            other.append(ASIDE)
        return [OTHER_TABLE.format(name.decode()) for name in other]

    async def newest(self) -> Newest:
        return Newest(*(int(one) for one in (await self._connection.run(NEWEST))[0]))

    async def events(self, after_id: int, limit: int, call_ids: Sequence[str] | None) -> list[StoredEvent]:
        hint, calls = b"", b""
        if call_ids is not None:
            hint, calls = BY_CALL, OF_CALLS % b",".join(quoted(call.encode()) for call in call_ids)
        while sizes := await self._connection.run(SIZES % (hint, after_id, calls, limit)):
            last_id = last_id_of_page(sizes)
            if rows := await self._connection.run(EVENTS % (hint, after_id, last_id, calls)):
                return [StoredEvent(row[0], row[1], row[2].encode()) for row in rows]
            after_id = last_id  # somebody else has just deleted these rows
        return []

    async def entries(self, after_id: int, limit: int) -> list[Packed]:
        return [(row[0], row[1]) for row in await self._connection.run(ENTRIES % (after_id, limit))]

    async def letters(self, after_id: int, limit: int) -> list[Packed]:
        return [(row[0], row[1]) for row in await self._connection.run(LETTERS % (after_id, limit))]

    async def erase(self, event_ids: Sequence[int], tombstone: Batch) -> int:
        return await self._insist(lambda: self._erase(event_ids, tombstone))

    async def replace_entry(
        self, first_id: int, change: Callable[[bytes], bytes | None], event_ids: Sequence[int], tombstone: Batch
    ) -> int:
        async def work() -> int:
            if (rows := await self._connection.run(ENTRY % first_id)) and (changed := change(rows[0][0])):
                await self._connection.run(REPLACE % (quoted(changed), first_id))
            return await self._erase(event_ids, tombstone)

        return await self._insist(work)

    async def finish(self) -> None:
        """InnoDB purges deleted rows by itself."""

    async def close(self) -> None:
        await self._connection.end()

    async def _insist(self, work: Callable[[], Awaitable[int]]) -> int:
        """Do the work in one transaction, and try again if it conflicts with a commit of the service."""
        for attempt in range(1, RETRIES_MAX + 1):
            try:
                async with self._connection.transaction():
                    return await work()
            except Retry:
                if attempt == RETRIES_MAX:
                    raise
            await asyncio.sleep(attempt * RETRY_PAUSE_SECONDS)
        raise StoreError  # never reached: the last try returns or raises

    async def _erase(self, event_ids: Sequence[int], tombstone: Batch) -> int:
        await self._connection.run(insert_events(tombstone))
        entry = (tombstone.first_id, len(tombstone), 0, quoted(pack(tombstone)))
        await self._connection.run(INSERT_ENTRY % entry)
        await self._connection.run(DROP_LETTERS % listed(event_ids))
        if self._has_aside:
            await self._connection.run(DELETE_ASIDE % listed(event_ids))
        return await self._connection.change(DELETE_EVENTS % listed(event_ids))

"""Finds tables that an interrupted conversion or drop has left. All work on `call_event_logs` checks for them first."""

from ingest.errors import StoreError
from ingest.store.mysql.connection import Connection

EVENTS = b"call_event_logs"
OLD, NEW = b"call_event_logs_unpartitioned", b"call_event_logs_partitioned"
DROPPED = b"call_event_logs_dropped"
TABLES = (
    b"SELECT TABLE_NAME, TABLE_ROWS FROM information_schema.TABLES "
    b"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '%b'"
)
AT_WORK = b"SELECT COALESCE(IS_USED_LOCK(CONCAT('ingest_retention.', LEFT(DATABASE(), 40))) <> CONNECTION_ID(), 0)"
"""1 while another process has the lock of the partitions. It archives and drops a day just now, which is no fault."""
AGAIN = "`ingest retention --convert` moves the rest; run it again if it does not run now."


async def existing(connection: Connection, table: bytes) -> bool:
    return bool(await connection.run(TABLES % table))


async def check_whole(connection: Connection) -> None:
    """Raises `StoreError` while some events are not in `call_event_logs`, but in another table."""
    if not await existing(connection, OLD):
        return
    rows = (await connection.run(TABLES % OLD))[0][1]
    raise StoreError(
        f"call_event_logs does not hold all events: about {rows} of them are in {OLD.decode()}, as its conversion to "
        f"partitions has not ended. Until then nothing is dropped, migrated or replayed. {AGAIN}"
    )


async def unfinished(connection: Connection) -> list[str]:
    """Interrupted changes, as texts for operators. Each says what to do."""
    found = []
    try:
        await check_whole(connection)
    except StoreError as exc:
        found.append(str(exc))
    else:
        if await existing(connection, NEW):
            found.append(
                f"An interrupted `ingest retention --convert` left {NEW.decode()}, which holds no event: run it again, "
                f"or DROP TABLE {NEW.decode()}."
            )
    if await existing(connection, DROPPED) and not (await connection.run(AT_WORK))[0][0]:
        found.append(
            f"An interrupted drop left {DROPPED.decode()}, with days that are due to be dropped: `ingest retention "
            "--days N` checks and removes them."
        )
    return found

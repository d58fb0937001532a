"""The publish target that all workers of a database share, on MySQL; see `ingest.broker.target_record`."""

from collections.abc import Callable

import msgspec

from ingest.broker.target_record import RecordedWorker, Target, TargetRecord, same_target
from ingest.errors import StoreError
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.lookup import MySQLEventLookup
from ingest.store.mysql.statements.literals import quoted

SHARED_TARGET = b"SELECT settings FROM ingest_cluster_settings WHERE worker = ''"
SHARED, EXCLUSIVE = b" LOCK IN SHARE MODE", b" FOR UPDATE"
"""A worker records itself under the shared lock. A worker that replaces the target locks exclusively, so it sees all
recorded workers."""
WORKERS = (
    b"SELECT node, settings, TIMESTAMPDIFF(MICROSECOND, seen_time, UTC_TIMESTAMP(6)) FROM ingest_cluster_settings "
    b"WHERE worker <> '' ORDER BY seen_time DESC LIMIT 1000"
)
WAITING = b"SELECT 1 FROM ingest_outbox LIMIT 1"
RECORD_WORKER = (
    b"INSERT INTO ingest_cluster_settings (worker, node, settings, seen_time) VALUES (%b, %b, %b, UTC_TIMESTAMP(6)) "
    b"ON DUPLICATE KEY UPDATE node = VALUES(node), settings = VALUES(settings), seen_time = VALUES(seen_time)"
)
DELETE_OLD = b"DELETE FROM ingest_cluster_settings WHERE worker <> '' AND seen_time < UTC_TIMESTAMP(6) - INTERVAL 1 DAY"
DELETE_WORKER = b"DELETE FROM ingest_cluster_settings WHERE worker = %b"


class MySQLTargetTable(MySQLEventLookup):
    """Implements `ingest.broker.target_record.TargetTable`."""

    async def share(self, worker: str, node: str, target: Target, replaces: Callable[[TargetRecord], bool]) -> Target:
        values = quoted(worker.encode()), quoted(node.encode()), _packed(target)
        async with self._other() as connection:
            async with connection.transaction():
                shared = await _shared_target(connection, SHARED)
                if shared is not None and same_target(shared, target):
                    await connection.run(RECORD_WORKER % values)
                    return shared
            async with connection.transaction():
                record = await _record(connection, EXCLUSIVE)
                if replaces(record):
                    await connection.run(RECORD_WORKER % (b"''", *values[1:]))
                    record = msgspec.structs.replace(record, shared=target)
                await connection.run(RECORD_WORKER % values)
        return record.shared or target

    async def record(self) -> TargetRecord:
        async with self._other() as connection:
            return await _record(connection, b"")

    async def leave(self, worker: str) -> None:
        async with self._other() as connection:
            await connection.run(DELETE_WORKER % quoted(worker.encode()))
            await connection.run(DELETE_OLD)


async def _shared_target(connection: Connection, lock: bytes) -> Target | None:
    rows = await connection.run(SHARED_TARGET + lock)
    return _unpacked(rows[0][0]) if rows and rows[0][0] else None


async def _record(connection: Connection, lock: bytes) -> TargetRecord:
    shared = await _shared_target(connection, lock)
    workers = [RecordedWorker(row[0], _unpacked(row[1]), row[2] / 1e6) for row in await connection.run(WORKERS)]
    return TargetRecord(shared, workers, bool(await connection.run(WAITING)))


def _packed(target: Target) -> bytes:
    return quoted(msgspec.json.encode(target))


def _unpacked(text: str) -> Target:
    try:
        return msgspec.json.decode(text, type=dict[str, str | int])
    except msgspec.MsgspecError as exc:
        raise StoreError(
            f"The table ingest_cluster_settings has a row that no worker wrote: delete it ({exc})."
        ) from exc

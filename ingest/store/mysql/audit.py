"""The audit trail on MySQL; see `ingest.audit.trail`."""

import msgspec

from ingest.audit.trail import AuditEntry, first_entry_id
from ingest.store.mysql.statements.literals import created_literal, quoted
from ingest.store.mysql.tables import MySQLTables

ADD = b"INSERT INTO ingest_audit (id, audited_time, actor, origin, action, details) VALUES (%d, %b, %b, %b, %b, %b)"
READ = (
    b"SELECT id, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', audited_time), actor, origin, action, "
    b"CAST(details AS CHAR) FROM ingest_audit WHERE id < %d ORDER BY id DESC LIMIT %d"
)
FORGET = b"DELETE FROM ingest_audit WHERE id < %d ORDER BY id LIMIT %d"


class MySQLAuditTable(MySQLTables):
    """Implements `ingest.audit.trail.AuditTable`."""

    async def add_audit(self, entry: AuditEntry) -> None:
        texts = (text.encode() for text in (entry.actor, entry.origin, entry.action))
        values = (*map(quoted, texts), quoted(msgspec.json.encode(entry.details)))
        async with self._other() as connection:
            await connection.run(ADD % (entry.id, created_literal(entry.time_us), *values))

    async def audit_entries(self, before_id: int, limit: int) -> list[AuditEntry]:
        async with self._other() as connection:
            rows = await connection.run(READ % (before_id, limit))
        return [AuditEntry(*row[:5], *map(msgspec.json.decode, row[5:])) for row in rows]

    async def forget_audit(self, before_us: int, limit: int) -> int:
        async with self._other() as connection:
            return await connection.change(FORGET % (first_entry_id(before_us), limit))

"""The audit trail on SQLite; see `ingest.audit.trail`."""

import msgspec

from ingest.audit.trail import AuditEntry, first_entry_id
from ingest.store.sqlite.tables import SQLiteTables, us_of, utc_text

ADD = "INSERT INTO ingest_audit (id, audited_time, actor, origin, action, details) VALUES (?, ?, ?, ?, ?, ?)"
READ = """SELECT id, audited_time, actor, origin, action, details FROM ingest_audit
    WHERE id < ? ORDER BY id DESC LIMIT ?"""
FORGET = """DELETE FROM ingest_audit WHERE id IN (SELECT id FROM ingest_audit WHERE id < ? ORDER BY id LIMIT ?)"""


class SQLiteAuditTable(SQLiteTables):
    """Implements `ingest.audit.trail.AuditTable`."""

    async def add_audit(self, entry: AuditEntry) -> None:
        details = msgspec.json.encode(entry.details).decode()
        row = (entry.id, utc_text(entry.time_us), entry.actor, entry.origin, entry.action, details)
        await self._transact(lambda connection: connection.execute(ADD, row))

    async def audit_entries(self, before_id: int, limit: int) -> list[AuditEntry]:
        rows = await self._run(lambda connection: connection.execute(READ, (before_id, limit)).fetchall())
        return [
            AuditEntry(entry_id, us_of(audited), actor, origin, action, msgspec.json.decode(details))
            for entry_id, audited, actor, origin, action, details in rows
        ]

    async def forget_audit(self, before_us: int, limit: int) -> int:
        values = (first_entry_id(before_us), limit)
        return await self._transact(lambda connection: connection.execute(FORGET, values).rowcount)

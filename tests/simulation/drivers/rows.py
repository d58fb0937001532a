"""A database of the MySQL model that tells which rows come and go."""

from typing import Any

from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack_one
from tests.simulation.mysql.databases import NAME, migrated_database
from tests.simulation.mysql.storage.database import Database
from tests.simulation.mysql.storage.tables import Table, Transaction

EVENTS, OUTBOX, DEAD = "call_event_logs", "ingest_outbox", "ingest_dead_letters"


class ObservedDatabase(Database):
    def __init__(self) -> None:
        super().__init__(NAME)
        migrated = migrated_database()
        self.tables, self.version = migrated.tables, migrated.version
        self.rows: dict[bytes, list[int]] = {}
        self.entries: set[int] = set()
        self.dead: dict[int, bytes] = {}
        self.settled: list[Batch] = []
        self.lost: set[bytes] = set()

    def commit(self, transaction: Transaction) -> None:
        before = self.commits
        super().commit(transaction)
        if self.commits > before:
            for table, key, values in self._newest[-1]:
                self._changed(table, key, values)

    def lose_commits(self, count: int) -> int:
        had = set(self.rows)
        lost = super().lose_commits(count)
        self.rows, self.entries, self.dead = {}, set(), {}
        for name in (EVENTS, OUTBOX, DEAD):
            table = self.tables[name]
            for row in table.committed_rows():
                self._changed(table, row[table.schema.key], None)
        self.lost |= had - set(self.rows)
        return lost

    def _changed(self, table: Table, key: Any, before: Any) -> None:
        record = table.get(key)
        now = record.committed if record else None
        place = table.schema.places
        if table.name == EVENTS:
            if now is not None and before is None:
                self.rows.setdefault(_bytes(now[place["payload"]]), []).append(int(now[place["id"]]))
        elif table.name == OUTBOX:
            if now is None and before is not None:
                self.entries.discard(int(before[place["first_id"]]))
                if batch := unpack_one(_bytes(before[place["batch"]])):
                    self.settled.append(batch)
            elif now is not None:
                self.entries.add(int(now[place["first_id"]]))
        elif table.name == DEAD and now is not None and (batch := unpack_one(_bytes(now[place["batch"]]))):
            self.dead[batch.first_id] = batch.events[0].payload


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)

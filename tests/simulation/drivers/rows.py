"""A database of the MySQL model that tells which rows come and go."""

from collections.abc import Iterator, Mapping
from typing import Any

from ingest.clock import unix_us
from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack_one
from tests.simulation.mysql.databases import NAME, migrated_database
from tests.simulation.mysql.storage.database import Database
from tests.simulation.mysql.storage.tables import Table, Transaction
from tests.simulation.servers import Forgotten, Removed

EVENTS, OUTBOX, DEAD = "call_event_logs", "ingest_outbox", "ingest_dead_letters"
TOKENS, KEYS, DROPPED = "ingest_tokens", "ingest_keys", "call_event_logs_dropped"


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
        self.tokens: dict[bytes, int | None] = {}
        """Digest → expiry, in Unix microseconds."""
        self.token_changes = 0
        self.stored: dict[int, bytes] = {}
        """Id → payload of all rows, also of those that are on their way out."""
        self.published_before: dict[int, bytes] = {}
        """The same of events that were published before the world began."""
        self.removed: list[Removed] = []
        self._dropped: set[bytes] = set()
        self.forgotten: list[Forgotten] = []

    def add(self, name: str, row: Mapping[str, Any]) -> None:
        """Insert a row before the world begins."""
        table = self.tables[name]
        values = tuple(row[column.name] for column in table.schema.columns)
        key = values[table.schema.key]
        table.add(key).committed = values
        self._changed(table, key, None)

    def forget_published(self) -> None:
        """Rows that were published before the world began are nothing that it has to publish."""
        for payload in self.published_before.values():
            self.rows.pop(payload, None)

    def changed(self) -> None:
        super().changed()
        for event_id in self.stored.keys() - self._present() if self.stored else ():
            payload = self.stored.pop(event_id)
            self._dropped.add(payload)
            self.removed.append(Removed(event_id, payload, unix_us()))

    def _present(self) -> set[int]:
        tables = (self.tables[name] for name in (EVENTS, DROPPED) if name in self.tables)
        return {key for table in tables for key in table.keys(None, None)}

    def commit(self, transaction: Transaction) -> None:
        before = self.commits
        super().commit(transaction)
        if self.commits > before:
            for table, key, values in self._newest[-1]:
                self._changed(table, key, values)

    def lose_commits(self, count: int) -> int:
        had = dict(self.rows)
        lost = super().lose_commits(count)
        self.rows, self.entries, self.dead, self.tokens, self.stored = {}, set(), {}, {}, {}
        self.token_changes += 1
        for name in (EVENTS, DROPPED, OUTBOX, DEAD, TOKENS):
            if table := self.tables.get(name):
                for row in table.committed_rows():
                    self._changed(table, row[table.schema.key], None)
        self.forget_published()
        self.rows |= {payload: ids for payload, ids in had.items() if payload in self._dropped}
        self.lost |= set(had) - set(self.rows)
        return lost

    def outbox(self) -> Iterator[Batch]:
        """The batches of all entries."""
        table = self.tables[OUTBOX]
        for row in table.committed_rows():
            if batch := unpack_one(_bytes(row[table.schema.places["batch"]])):
                yield batch

    def _changed(self, table: Table, key: Any, before: Any) -> None:
        record = table.get(key)
        now = record.committed if record else None
        place = table.schema.places
        if table.name in (EVENTS, DROPPED):
            if now is not None and before is None:
                event_id, payload = int(now[place["id"]]), _bytes(now[place["payload"]])
                self.rows.setdefault(payload, []).append(event_id)
                self.stored[event_id] = payload
        elif table.name == OUTBOX:
            if now is None and before is not None:
                self.entries.discard(int(before[place["first_id"]]))
                if batch := unpack_one(_bytes(before[place["batch"]])):
                    self.settled.append(batch)
            elif now is not None:
                self.entries.add(int(now[place["first_id"]]))
        elif table.name == TOKENS:
            self.token_changes += 1
            self.tokens.pop(key, None)
            if now is not None:
                self.tokens[key] = now[place["expires_time"]]
        elif table.name == KEYS:
            if now is None and before is not None:
                self.forgotten.append(Forgotten(int(before[place["event_id"]]), unix_us()))
        elif table.name == DEAD and now is not None and (batch := unpack_one(_bytes(now[place["batch"]]))):
            self.dead[batch.first_id] = batch.events[0].payload


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)

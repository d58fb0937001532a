"""Finds out which tables are there, by their columns, and how far an adoption came. No name is trusted."""

from collections.abc import Mapping, Sequence

import msgspec

from ingest.errors import StoreError
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.partitioning.unfinished import EVENTS, existing

ASIDE, OURS, NEW = b"call_event_logs_laravel", b"call_event_logs_ingest", b"call_event_logs_adopting"
"""The original's table put aside, this service's table put aside by the way back, and one that an adoption makes."""
IDS, SENT = b"ingest_adopted_ids", b"ingest_adopted_jobs"
JOBS, FAILED = b"jobs", b"failed_jobs"
COLUMNS = (
    b"SELECT c.COLUMN_NAME, c.COLUMN_TYPE, c.DATA_TYPE, c.EXTRA, COALESCE(c.DATETIME_PRECISION, 0), c.COLUMN_KEY, "
    b"c.IS_NULLABLE = 'YES' OR c.COLUMN_DEFAULT IS NOT NULL OR COALESCE(c.GENERATION_EXPRESSION, '') <> '', "
    b"t.TABLE_TYPE FROM information_schema.COLUMNS AS c JOIN information_schema.TABLES AS t "
    b"ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME "
    b"WHERE c.TABLE_SCHEMA = %b AND c.TABLE_NAME = '%b' ORDER BY c.ORDINAL_POSITION"
)
OF_EVENTS = ("id", "call_id", "event_type", "payload", "created_time")
OF_JOBS = {
    JOBS: ("id", "queue", "payload", "attempts", "reserved_at", "available_at", "created_at"),
    FAILED: ("id", "connection", "queue", "payload", "exception", "failed_at"),
}
INTEGERS = ("int", "bigint", "mediumint")
TEXTS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext")
TYPES: Mapping[str, Sequence[str]] = {
    "id": INTEGERS,
    "call_id": TEXTS,
    "event_type": (*TEXTS, "enum"),
    "payload": (*TEXTS, "json"),
    "created_time": ("timestamp", "datetime"),
}
NEWEST_MISSING = (
    b"SELECT 1 FROM %b AS old LEFT JOIN ingest_adopted_ids AS m ON m.old_id = old.id "
    b"WHERE old.id = (SELECT MAX(id) FROM %b) AND m.old_id IS NULL"
)
UNFINISHED = (
    "An adoption has not ended: some rows of call_event_logs_laravel are not in call_event_logs. `ingest adopt --run` "
    "copies the rest."
)
US = 1_000_000
LOOK = "Nothing was changed: look at these tables, and rename those that are not the original's."


class Column(msgspec.Struct, frozen=True):
    """`kind` is the type without its length, and `optional` says that an INSERT may leave the column out."""

    name: str
    type: str
    kind: str
    counted: bool
    precision: int
    primary: bool
    optional: bool
    of_view: bool


class Table(msgspec.Struct, frozen=True):
    name: str
    columns: Mapping[str, Column]

    @property
    def is_ours(self) -> bool:
        """Its ids are made by the service, and `created_time` is exact."""
        found = self.columns
        return (
            found.keys() >= set(OF_EVENTS)
            and found["id"].kind == "bigint"
            and not found["id"].counted
            and found["created_time"].type == "datetime(6)"
        )

    @property
    def foreign(self) -> str | None:
        """Why it is not the original's table of events. None if it is."""
        if missing := [name for name in OF_EVENTS if name not in self.columns]:
            return f"it has no column {', '.join(missing)}; its columns are {', '.join(self.columns)}"
        if any(column.of_view for column in self.columns.values()):
            return "it is a view"
        for name, kinds in TYPES.items():
            if self.columns[name].kind not in kinds:
                return f"its column {name} is {self.columns[name].type}"
        if not (self.columns["id"].counted and self.columns["id"].primary):
            return "its id is no AUTO_INCREMENT primary key"
        return None

    @property
    def is_laravels(self) -> bool:
        """It is the original's table, and not one of this service that somebody has changed."""
        return self.foreign is None and self.columns["created_time"].type != "datetime(6)"

    @property
    def unit_us(self) -> int:
        """The resolution of `created_time`."""
        return int(US // 10 ** self.columns["created_time"].precision)

    @property
    def unfilled(self) -> Sequence[str]:
        """Columns that the service's events do not fill, and that have no default."""
        return [one.name for one in self.columns.values() if not (one.optional or one.name in OF_EVENTS)]


class Tables(msgspec.Struct, frozen=True):
    """None means that there is no such table. `events` is `call_event_logs`."""

    events: Table | None
    aside: Table | None
    ours: Table | None
    new: Table | None

    @property
    def swapped(self) -> bool:
        """The service's table is in place, and the original's is aside."""
        return bool(self.events and self.events.is_ours and self.aside)

    @property
    def original(self) -> Table | None:
        """The original's table, in place or aside."""
        return self.aside or (self.events if self.events and not self.events.is_ours else None)


async def look(connection: Connection) -> Tables:
    """Raises `StoreError` with the evidence if a table is neither the original's nor this service's."""
    events, aside, ours, new = [await table(connection, name) for name in (EVENTS, ASIDE, OURS, NEW)]
    for found in (events, aside):
        if found and not (found.is_ours and found is events) and (reason := found.foreign):
            raise StoreError(f"{found.name} is not the original's table: {reason}. {LOOK}")
    for found in (ours, new):
        if found and not found.is_ours:
            raise StoreError(f"{found.name} is not this service's table: its ids count up, or columns differ. {LOOK}")
    if aside and events and not events.is_ours:
        raise StoreError(f"Both {events.name} and {aside.name} are the original's table. {LOOK}")
    if aside and ours:
        raise StoreError(f"{aside.name} and {ours.name} are both there, and only one of them may be. {LOOK}")
    return Tables(events, aside, ours, new)


async def table(connection: Connection, name: bytes, schema: bytes = b"DATABASE()") -> Table | None:
    """`schema` is an SQL expression."""
    rows = await connection.run(COLUMNS % (schema, name))
    columns = [
        Column(
            _text(row[0]),
            _text(row[1]).lower(),
            _text(row[2]).lower(),
            "auto_increment" in _text(row[3]).lower(),
            int(row[4]),
            row[5] == "PRI",
            bool(row[6]) or "auto_increment" in _text(row[3]).lower(),
            _text(row[7]) == "VIEW",
        )
        for row in rows
    ]
    return Table(name.decode(), {one.name: one for one in columns}) if columns else None


async def strange_columns(connection: Connection, name: bytes) -> str | None:
    """Why the table of jobs is not Laravel's. None if it is; an empty text if there is no table."""
    found = await table(connection, name)
    if found is None:
        return ""
    missing = [column for column in OF_JOBS[name] if column not in found.columns]
    return f"it has no column {', '.join(missing)}; its columns are {', '.join(found.columns)}" if missing else None


def _text(value: object) -> str:
    """MySQL returns some texts of information_schema as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


async def unfinished_adoption(connection: Connection) -> list[str]:
    """An interrupted adoption, as a text for operators. Rows are copied in order, so the newest one is the last."""
    if not (await existing(connection, ASIDE) and await existing(connection, IDS)):
        return []
    return [UNFINISHED] if await connection.run(NEWEST_MISSING % (ASIDE, ASIDE)) else []

"""The tables of information_schema, and SHOW."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.mysql.errors import Unsupported
from tests.simulation.mysql.sql.context import Row
from tests.simulation.mysql.sql.nodes import ColumnDefinition
from tests.simulation.mysql.storage.database import Database
from tests.simulation.mysql.storage.schemas import shown_type
from tests.simulation.mysql.storage.tables import Table

ANSWERS_MAX = 10_000
BYTES_A_ROW = 300
"""For the sizes in TABLES and PARTITIONS, which are estimates."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "TABLES": ("TABLE_SCHEMA", "TABLE_NAME", "TABLE_TYPE", "ENGINE", "ROW_FORMAT", "TABLE_ROWS"),
    "ENGINES": ("ENGINE", "TRANSACTIONS"),
    "COLUMNS": (
        *("TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME", "ORDINAL_POSITION", "COLUMN_TYPE", "IS_NULLABLE"),
        *("COLUMN_DEFAULT", "CHARACTER_SET_NAME", "COLLATION_NAME", "EXTRA", "GENERATION_EXPRESSION"),
        *("DATA_TYPE", "DATETIME_PRECISION", "COLUMN_KEY"),
    ),
    "STATISTICS": ("TABLE_SCHEMA", "TABLE_NAME", "INDEX_NAME", "SEQ_IN_INDEX", "COLUMN_NAME", "NON_UNIQUE"),
    "TRIGGERS": ("EVENT_OBJECT_SCHEMA", "EVENT_OBJECT_TABLE", "TRIGGER_NAME"),
    "REFERENTIAL_CONSTRAINTS": ("CONSTRAINT_SCHEMA", "TABLE_NAME", "REFERENCED_TABLE_NAME", "CONSTRAINT_NAME"),
    "CHECK_CONSTRAINTS": ("CONSTRAINT_SCHEMA", "TABLE_NAME", "CONSTRAINT_NAME", "CHECK_CLAUSE"),
    "TABLE_CONSTRAINTS": ("CONSTRAINT_SCHEMA", "CONSTRAINT_NAME", "TABLE_NAME", "ENFORCED"),
    "PARTITIONS": (
        *("TABLE_SCHEMA", "TABLE_NAME", "PARTITION_NAME", "PARTITION_DESCRIPTION", "PARTITION_ORDINAL_POSITION"),
        *("TABLE_ROWS", "DATA_LENGTH", "INDEX_LENGTH", "PARTITION_METHOD", "PARTITION_EXPRESSION"),
        "SUBPARTITION_NAME",
    ),
}


_answers: dict[object, list[Row]] = {}


class Information:
    """Rows are kept until a definition changes, but for those that count rows."""

    def __init__(self, database: Database, mariadb: bool) -> None:
        self._database = database
        self._mariadb = mariadb
        self._kept: dict[str, tuple[int, list[Row]]] = {}
        self._makers: dict[str, Callable[[Table], list[Row]]] = {
            "TABLES": self._table,
            "COLUMNS": self._columns,
            "STATISTICS": self._indexes,
            "CHECK_CONSTRAINTS": self._checks,
            "PARTITIONS": self._partitions,
        }

    def rows(self, name: str) -> tuple[Sequence[str], Sequence[Row]]:
        """The columns and the rows of one of the tables."""
        table = name.upper()
        if table not in COLUMNS:
            raise Unsupported(f"information_schema.{name}")
        version, kept = self._kept.get(table, (-1, []))
        if version != self._database.version or table in ("TABLES", "PARTITIONS"):
            kept = self._made(table)
            self._kept[table] = self._database.version, kept
        return COLUMNS[table], kept

    def answer(self, query: object, params: Sequence[Any], make: Callable[[], list[Row]]) -> list[Row]:
        """The rows of a query of definitions. They are made once in a process for tables that are alike."""
        database = self._database
        tables = tuple([(table.name, table.schema) for table in database.tables.values()])
        literals = tuple([tuple(one) if isinstance(one, list) else one for one in params])
        key = query, self._mariadb, database.name, literals, tables
        found = _answers.get(key)
        if found is None:
            if len(_answers) > ANSWERS_MAX:
                _answers.clear()
            found = _answers[key] = make()
        return list(found)

    def _made(self, table: str) -> list[Row]:
        if table == "ENGINES":
            return [("InnoDB", "YES")]
        maker = self._makers.get(table)
        if maker is None or (table == "CHECK_CONSTRAINTS" and not self._mariadb):
            return []
        found = [row for one in self._database.tables.values() for row in maker(one)]
        return [*found, *self._of_itself()] if table == "TABLES" else found

    def _of_itself(self) -> list[Row]:
        return [("information_schema", name, "SYSTEM VIEW", None, None, None) for name in COLUMNS]

    def _table(self, table: Table) -> list[Row]:
        return [(self._database.name, table.name, "BASE TABLE", "InnoDB", "Dynamic", len(table))]

    def _columns(self, table: Table) -> list[Row]:
        schema = table.schema
        keys = {columns[0]: "MUL" for _, columns in schema.indexes} | {schema.columns[schema.key].name: "PRI"}
        return [
            self._column(table.name, at, column, keys.get(column.name, ""))
            for at, column in enumerate(schema.columns, 1)
        ]

    def _column(self, table: str, at: int, column: ColumnDefinition, key: str) -> Row:
        nullable = "YES" if column.nullable else "NO"
        default = str(column.default) if column.has_default else None
        charset, collation = column.charset, column.collation
        if charset is None and column.type in ("VARCHAR", "CHAR"):
            charset, collation = "utf8mb4", "utf8mb4_bin"
        if column.type == "JSON" and self._mariadb:
            charset, collation = "utf8mb4", "utf8mb4_bin"
        shown = shown_type(column, self._mariadb)
        precision = column.length if column.type == "DATETIME" else None
        texts = default, charset, collation, "", None
        kind = shown.partition("(")[0]
        return (self._database.name, table, column.name, at, shown, nullable, *texts, kind, precision, key)

    def _indexes(self, table: Table) -> list[Row]:
        key = table.schema.columns[table.schema.key].name
        named = [("PRIMARY", (key,)), *table.schema.indexes]
        return [
            (self._database.name, table.name, name, at, column, 0 if name == "PRIMARY" else 1)
            for name, columns in named
            for at, column in enumerate(columns, 1)
        ]

    def _checks(self, table: Table) -> list[Row]:
        return [
            (self._database.name, table.name, column.name, f"json_valid(`{column.name}`)")
            for column in table.schema.columns
            if column.type == "JSON"
        ]

    def _partitions(self, table: Table) -> list[Row]:
        name = self._database.name
        if not table.partitions:
            return [(name, table.name, None, None, None, len(table), 0, 0, None, None, None)]
        found: list[Row] = []
        for at, one in enumerate(table.partitions, 1):
            count = len(table.keys(*table.range_of(one.name)))
            end = "MAXVALUE" if one.end is None else str(one.end)
            sizes = count, count * BYTES_A_ROW, 0
            found.append((name, table.name, one.name, end, at, *sizes, "RANGE", "`id`", None))
        return found

    def definition_of(self, table: Table) -> str:
        """SHOW CREATE TABLE."""
        lines = [self._column_line(column) for column in table.schema.columns]
        lines.append(f"  PRIMARY KEY (`{table.schema.columns[table.schema.key].name}`)")
        for name, columns in table.schema.indexes:
            keyed = ",".join(f"`{column}`" for column in columns)
            lines.append(f"  KEY `{name}` ({keyed})")
        body = ",\n".join(lines)
        options = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin ROW_FORMAT=DYNAMIC"
        parts = ""
        if table.partitions:
            parts = "\n PARTITION BY RANGE (`id`)\n(" + ",\n ".join(map(_partition_line, table.partitions)) + ")"
        return f"CREATE TABLE `{table.name}` (\n{body}\n) {options}{parts}"

    def _column_line(self, column: ColumnDefinition) -> str:
        kind = "json" if column.type == "JSON" else shown_type(column, self._mariadb)
        charset = f" CHARACTER SET {column.charset}" if column.charset else ""
        collation = f" COLLATE {column.collation}" if column.collation else ""
        null = "" if column.nullable else " NOT NULL"
        default = f" DEFAULT {_quoted(column.default)}" if column.has_default else ""
        return f"  `{column.name}` {kind}{charset}{collation}{null}{default}"


def _partition_line(partition: object) -> str:
    name, end = getattr(partition, "name", ""), getattr(partition, "end", None)
    return f"PARTITION `{name}` VALUES LESS THAN {'MAXVALUE' if end is None else f'({end})'} ENGINE = InnoDB"


def _quoted(value: object) -> str:
    return "NULL" if value is None else str(value) if isinstance(value, int) else f"'{value}'"

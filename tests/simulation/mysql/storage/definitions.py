"""Changes of tables: CREATE, ALTER, RENAME and DROP."""

from typing import Any

import msgspec

from tests.simulation.mysql.errors import Unsupported, error
from tests.simulation.mysql.sql.context import Context
from tests.simulation.mysql.sql.evaluation import without_columns
from tests.simulation.mysql.sql.nodes import ColumnDefinition, Command, CreateTable
from tests.simulation.mysql.storage.database import Database
from tests.simulation.mysql.storage.schemas import schema_of
from tests.simulation.mysql.storage.tables import Partition, Table


class Definitions:
    """Executes them on the whole database at once. The session holds the tables' locks meanwhile."""

    def __init__(self, database: Database, mariadb: bool) -> None:
        self._database = database
        self._mariadb = mariadb

    def create(self, node: CreateTable, context: Context) -> None:
        tables = self._database.tables
        if node.name in tables:
            if node.if_not_exists:
                return
            raise error(1050, node.name)
        if node.like:
            tables[node.name] = Table(node.name, self._database.table(node.like).schema)
            tables[node.name].partitions = list(self._database.table(node.like).partitions)
        else:
            columns = tuple(_evaluated(column, context) for column in node.columns)
            schema = schema_of(columns, node.primary_key, node.indexes, node.name, self._mariadb)
            tables[node.name] = Table(node.name, schema)
        self._database.changed()

    def run(self, command: Command, context: Context) -> None:
        method: Any = {
            "DROP TABLE": self._drop,
            "RENAME TABLE": self._rename,
            "ADD COLUMN": self._add_column,
            "PARTITION": self._partition,
            "REORGANIZE": self._reorganize,
            "EXCHANGE": self._exchange,
            "DROP PARTITION": self._drop_partition,
        }.get(command.name)
        if method is None:
            raise Unsupported(command.name)
        method(context, *command.details)
        self._database.changed()

    def _drop(self, context: Context, name: str, if_exists: bool) -> None:
        if self._database.tables.pop(name, None) is None and not if_exists:
            raise error(1051, f"{self._database.name}.{name}")

    def _rename(self, context: Context, *pairs: tuple[str, str]) -> None:
        tables = dict(self._database.tables)
        for old, new in pairs:
            if old not in tables:
                raise error(1146, f"{self._database.name}.{old}")
            if new in tables:
                raise error(1050, new)
            tables[new] = tables.pop(old)
        for name, table in tables.items():
            table.name = name
        self._database.tables = tables

    def _add_column(self, context: Context, name: str, column: ColumnDefinition) -> None:
        table = self._database.table(name)
        schema = table.schema
        if column.name in schema.places:
            raise error(1060, column.name)
        added = _evaluated(column, context)
        key = schema.columns[schema.key].name
        table.schema = schema_of((*schema.columns, added), key, schema.indexes, name, self._mariadb)
        for record in table.records():
            record.committed = (*(record.committed or ()), added.default)

    def _partition(self, context: Context, name: str, parts: tuple[tuple[str, Any], ...]) -> None:
        self._database.table(name).partitions = _partitions(parts, context)

    def _reorganize(self, context: Context, name: str, old: str, parts: tuple[tuple[str, Any], ...]) -> None:
        table = self._database.table(name)
        table.range_of(old)
        place = next(at for at, one in enumerate(table.partitions) if one.name == old)
        table.partitions[place : place + 1] = _partitions(parts, context)

    def _exchange(self, context: Context, name: str, partition: str, other_name: str) -> None:
        table, other = self._database.table(name), self._database.table(other_name)
        if len(other.schema.columns) != len(table.schema.columns):
            raise error(1736)
        low, high = table.range_of(partition)
        taken, given = table.keys(low, high), other.keys(None, None)
        if any((low is not None and key < low) or (high is not None and key > high) for key in given):
            raise error(1737)
        moved, back = _taken(table, taken), _taken(other, given)
        for target, rows in ((other, moved), (table, back)):
            for key, row in rows:
                target.add(key).committed = row

    def _drop_partition(self, context: Context, name: str, partition: str) -> None:
        table = self._database.table(name)
        _taken(table, table.keys(*table.range_of(partition)))
        table.partitions = [one for one in table.partitions if one.name != partition]


def _evaluated(column: ColumnDefinition, context: Context) -> ColumnDefinition:
    """The definition with values for the expressions in it."""

    def value(expression: Any) -> Any:
        return None if expression is None else without_columns(expression)(context)

    return msgspec.structs.replace(column, length=value(column.length), default=value(column.default))


def _partitions(parts: tuple[tuple[str, Any], ...], context: Context) -> list[Partition]:
    return [Partition(name, without_columns(end)(context)) for name, end in parts]


def _taken(table: Table, keys: list[Any]) -> list[tuple[Any, Any]]:
    return [(key, table.remove(key).committed) for key in keys]

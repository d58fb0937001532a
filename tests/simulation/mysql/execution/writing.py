"""INSERT, UPDATE and DELETE."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.simulation.mysql.errors import DUPLICATE, error
from tests.simulation.mysql.execution.access import KeyPath
from tests.simulation.mysql.execution.locking import Writes, lock_row, locked_rows
from tests.simulation.mysql.execution.reading import query_of
from tests.simulation.mysql.sql.context import Context, Function, Row, no_columns
from tests.simulation.mysql.sql.evaluation import compiled
from tests.simulation.mysql.sql.nodes import Column, Delete, Expression, Insert, Param, Update
from tests.simulation.mysql.sql.values import as_text
from tests.simulation.mysql.storage.schemas import of_literal
from tests.simulation.mysql.storage.tables import Convert, Schema, Table


class InsertPlan:
    def __init__(self, insert: Insert, schema: Schema, row_params: int) -> None:
        self.schema = schema
        self._insert = insert
        self._row_params = row_params
        names = insert.columns or tuple(column.name for column in schema.columns)
        self._places = [schema.place(name) for name in names]
        self._values = [compiled(one, no_columns) for one in insert.values]
        self._missing = _defaults(schema, set(self._places))
        self._literals = self._of_literals()
        """How to make the columns of a row, if it has nothing but literals in the order of the columns."""

        def place(table: str, name: str) -> int:
            return schema.place(name)

        self._updates = [(schema.place(name), compiled(one, place)) for name, one in insert.updates]

    def _of_literals(self) -> Sequence[Convert] | None:
        schema, values = self.schema, self._insert.values
        in_order = self._places == list(range(len(schema.columns)))
        if not in_order or not all(isinstance(one, Param) and one.index == at for at, one in enumerate(values)):
            return None
        if len(values) != len(schema.columns):
            return None
        kinds = zip(schema.columns, schema.converters, values, strict=True)
        return [of_literal(column, convert, value.kind) for column, convert, value in kinds]

    async def run(self, session: Writes, params: Sequence[Any], rows: int) -> int:
        """Return the number of rows that were inserted or changed."""
        table, transaction = session.table(self._insert.table), session.transaction
        key, changed = self.schema.key, 0
        for row in self._whole_rows(session, params, rows):
            if table.get(row[key]) is None:
                table.check_partition(row[key])
                transaction.write(table, row[key], table.add(row[key]), row)
                changed += 1
            else:
                changed += await self._put(session, table, row, params)
        return changed

    def _whole_rows(self, session: Writes, params: Sequence[Any], rows: int) -> Iterator[Row]:
        """Each row is checked after those before it are inserted."""
        literals = self._literals
        if literals is None:
            for number, values in enumerate(self._rows(session, params, rows), 1):
                yield self._row(values, number)
        else:
            for number in range(rows):
                begin = number * len(literals)
                row = zip(literals, params[begin : begin + len(literals)], strict=True)
                yield tuple([convert(literal, number + 1) for convert, literal in row])

    def _rows(self, session: Writes, params: Sequence[Any], rows: int) -> list[Row]:
        context = Context(session, params)
        if self._insert.query is not None:
            return query_of(self._insert.query, session).rows(context)
        if len(self._values) != len(self._places):
            raise error(1136, 1)
        found, length = [], self._row_params
        for begin in range(0, rows * length, length) if length else range(rows):
            context.params = params[begin : begin + length] if rows > 1 else params
            found.append(tuple([value(context) for value in self._values]))
        return found

    def _row(self, values: Row, number: int) -> Row:
        converters = self.schema.converters
        row: list[Any] = [None] * len(converters)
        for place, value in zip(self._places, values, strict=True):
            row[place] = converters[place](value, number)
        for place, default in self._missing:
            row[place] = default() if callable(default) else default
        return tuple(row)

    async def _put(self, session: Writes, table: Table, row: Row, params: Sequence[Any]) -> int:
        key = row[self.schema.key]
        transaction = session.transaction
        while (record := table.get(key)) is not None:
            if await lock_row(session, table, key, exclusive=bool(self._updates)) is not record:
                continue
            if (there := record.seen_by(transaction)) is not None:
                return self._meet(session, table, there, row, params)
            if record.writer is not transaction and await lock_row(session, table, key, exclusive=True) is not record:
                continue
            transaction.write(table, key, record, row)
            return 1
        transaction.write(table, key, table.add(key), row)
        return 1

    def _meet(self, session: Writes, table: Table, there: Row, row: Row, params: Sequence[Any]) -> int:
        """There is a row with this key already."""
        key = row[self.schema.key]
        if self._updates:
            context = Context(session, params)
            context.inserted, context.row = row, there
            return 2 * _write(session, table, there, _changed(self.schema, self._updates, there, context))
        if self._insert.ignores:
            return 0
        raise error(DUPLICATE, _shown(key), "PRIMARY" if session.mariadb else f"{table.name}.PRIMARY")


class UpdatePlan:
    def __init__(self, update: Update, schema: Schema) -> None:
        self.schema = schema
        self._update = update
        place = _places(schema)
        self._sets = [(schema.place(name), compiled(one, place)) for name, one in update.sets]
        self._where = compiled(update.where, place) if update.where is not None else None
        self._path = KeyPath(update.where, _is_key(schema), no_columns)

    async def run(self, session: Writes, params: Sequence[Any]) -> int:
        table, context = session.table(self._update.table), Context(session, params)
        keys, changed = self._path.keys(context, table), 0
        matches = _matching(self._where, context)
        looks_first = not self._path.is_exact
        async for _, _, row in locked_rows(session, table, keys, matches, looks_first=looks_first):
            context.row = row
            changed += _write(session, table, row, _changed(self.schema, self._sets, row, context))
        return changed


class DeletePlan:
    def __init__(self, delete: Delete, schema: Schema) -> None:
        self.schema = schema
        self._delete = delete
        place = _places(schema)
        self._where = compiled(delete.where, place) if delete.where is not None else None
        self._order = [(compiled(one, place), descends) for one, descends in delete.order]
        self._limit = compiled(delete.limit, no_columns) if delete.limit is not None else None
        self._path = KeyPath(delete.where, _is_key(schema), no_columns)

    async def run(self, session: Writes, params: Sequence[Any]) -> int:
        table, context = session.table(self._delete.table), Context(session, params)
        limit = self._limit(context) if self._limit is not None else None
        matches, deleted = _matching(self._where, context), 0
        async for key, record, _ in locked_rows(session, table, self._keys(table, context), matches):
            session.transaction.write(table, key, record, None)
            deleted += 1
            if deleted == limit:
                break
        return deleted

    def _keys(self, table: Table, context: Context) -> Sequence[Any]:
        keys = self._path.keys(context, table)
        if not self._order:
            return keys
        rows = [row for key in keys if (record := table.get(key)) and (row := record.committed) is not None]
        for function, descends in reversed(self._order):
            rows.sort(key=_by(function, context), reverse=descends)
        return [row[self.schema.key] for row in rows]


def _by(function: Function, context: Context) -> Callable[[Row], Any]:
    def value(row: Row) -> Any:
        context.row = row
        return function(context)

    return value


def _matching(where: Function | None, context: Context) -> Callable[[Row], Any]:
    def matches(row: Row) -> Any:
        if where is None:
            return True
        context.row = row
        return where(context)

    return matches


def _write(session: Writes, table: Table, before: Row, after: Row) -> int:
    if after == before:
        return 0
    key = before[table.schema.key]
    record = table.get(key)
    assert record is not None  # it is locked
    if after[table.schema.key] != key:
        raise AssertionError("the service changes no primary key")
    session.transaction.write(table, key, record, after)
    return 1


def _changed(schema: Schema, sets: Sequence[tuple[int, Function]], row: Row, context: Context) -> Row:
    """The row after the assignments, of which each sees those before it."""
    found = list(row)
    for place, function in sets:
        found[place] = schema.converters[place](function(context), 1)
        context.row = tuple(found)
    return tuple(found)


def _places(schema: Schema) -> Callable[[str, str], int]:
    return lambda table, name: schema.place(name)


def _is_key(schema: Schema) -> Callable[[Expression], bool]:
    return lambda one: isinstance(one, Column) and schema.places.get(one.name) == schema.key


def _defaults(schema: Schema, given: set[int]) -> list[tuple[int, Any]]:
    """The values of the columns that an INSERT does not name. Raises 1364 if one has none when the row is made."""
    found: list[tuple[int, Any]] = []
    for place, column in enumerate(schema.columns):
        if place in given:
            continue
        if column.has_default or column.nullable:
            found.append((place, column.default))
        else:
            found.append((place, _refusal(column.name)))
    return found


def _refusal(name: str) -> Callable[[], Any]:
    def refuse() -> Any:
        raise error(1364, name)

    return refuse


def _shown(key: Any) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(as_text(key))

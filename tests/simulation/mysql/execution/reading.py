"""SELECT without locks: reads what is committed, and the transaction's own changes."""

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from tests.simulation.mysql.execution.access import KeyPath, conjuncts, depends_on_definitions
from tests.simulation.mysql.execution.relations import Reads, Relation, Rows
from tests.simulation.mysql.sql.context import Context, Function, Row, no_columns
from tests.simulation.mysql.sql.evaluation import compiled, compiled_row, is_aggregate
from tests.simulation.mysql.sql.nodes import Call, Column, Expression, Operation, Select, Source
from tests.simulation.mysql.sql.values import datetime_of
from tests.simulation.mysql.storage.tables import Schema, Table


class Query:
    """A compiled SELECT. It is valid while `fits`."""

    def __init__(self, select: Select, session: Reads) -> None:
        self.select = select
        self._relations: list[Relation] = []
        self._paths: list[KeyPath] = []
        self._conditions: list[Function | None] = []
        for source in select.sources:
            self._join(source, session)
        self.where = compiled(select.where, self.place) if select.where is not None else None
        self.names: list[str] = [output.name for output in select.outputs]
        self._output = compiled_row([output.expression for output in select.outputs], self.place)
        if select.star:
            self.names = [name for relation in self._relations for name in relation.columns]
        self._aggregates = any(is_aggregate(output.expression) for output in select.outputs)
        self._order = [(compiled(one, self.place), descends) for one, descends in select.order]
        self._by_key = self._is_key_order()
        self._ends_only = self._asks_for_ends()
        self._limit = compiled(select.limit, no_columns) if select.limit is not None else None
        self._offset = compiled(select.offset, no_columns) if select.offset is not None else None
        self._further = [Query(one, session) for one in select.further]
        self.schemas = self._all_schemas()
        """The tables that it reads, also in its subqueries, and their definitions."""
        self.tables = [name for name, _ in self.schemas]
        self.is_of_definitions = not self.schemas and bool(select.sources) and depends_on_definitions(select)
        """Its rows are the same until somebody changes a definition."""
        self._moments = [at for at, name in enumerate(self._shown_columns()) if self._is_moment(name)]

    def _all_schemas(self) -> list[tuple[str, Schema]]:
        found = [(one.source.table, one.schema) for one in self._relations if one.schema is not None]
        for one in (*(one.query for one in self._relations), *self._further):
            if one is not None:
                found += one.schemas
        return found

    def _shown_columns(self) -> Sequence[str]:
        """The columns that are shown as they are, or "" for other expressions."""
        if self.select.star:
            return self.names
        return [one.expression.name if isinstance(one.expression, Column) else "" for one in self.select.outputs]

    def _is_moment(self, name: str) -> bool:
        schemas = [one.schema for one in self._relations if one.schema is not None]
        return any(
            name in schema.places and schema.columns[schema.places[name]].type == "DATETIME" for schema in schemas
        )

    def presented(self, rows: list[Row]) -> list[Row]:
        """The rows as the driver gives them: its times are `datetime`."""
        if not self._moments:
            return rows
        return [
            tuple(datetime_of(value) if at in self._moments else value for at, value in enumerate(row)) for row in rows
        ]

    def _join(self, source: Source, session: Reads) -> None:
        offset = sum(len(one.columns) for one in self._relations)
        relation = Relation(source, session, offset, Query)
        condition = source.on if self._relations else self.select.where
        for name in source.using:
            before = next(one for one in self._relations if one.place(name) is not None)
            same = Operation("=", (Column(name, source.name), Column(name, before.source.name)))
            condition = same if condition is None else Operation("AND", (condition, same))
        known = self.place if self._relations else no_columns
        self._paths.append(KeyPath(condition, relation.is_key, known))
        joins = bool(self._relations)
        self._relations.append(relation)
        self._conditions.append(compiled(condition, self.place) if joins and condition is not None else None)

    @property
    def table(self) -> Relation:
        """The only relation."""
        (found,) = self._relations
        return found

    @property
    def path(self) -> KeyPath:
        (found,) = self._paths
        return found

    def place(self, table: str, name: str) -> int:
        for relation in self._relations:
            if not table or table == relation.source.name:
                found = relation.place(name)
                if found is not None:
                    return found
        return no_columns(table, name)

    def fits(self, session: Reads) -> bool:
        """False if a table's definition has changed."""
        return all(session.table(name).schema is schema for name, schema in self.schemas)

    def rows(self, context: Context) -> list[Row]:
        found = self._own_rows(context)
        for further in self._further:
            found += further.rows(context)
        return found

    def _own_rows(self, context: Context) -> list[Row]:
        if self._aggregates:
            context.rows = self._ends(context) if self._ends_only else list(self._selected(context))
            return [self.output((), context)]
        selected: Rows = self._selected(context)
        if self._order and not self._by_key:
            selected = self.ordered(selected, context)
        begin, end = self.bounds(context)
        return [self.output(row, context) for row in islice(selected, begin, end)]

    def output(self, row: Row, context: Context) -> Row:
        if self.select.star:
            return row
        context.row = row
        found: Row = self._output(context)
        return found

    def bounds(self, context: Context) -> tuple[int, int | None]:
        begin = self._offset(context) if self._offset is not None else 0
        if self._limit is None:
            return begin, None
        return begin, min(begin + self._limit(context), sys.maxsize)

    def ordered(self, rows: Rows, context: Context) -> list[Row]:
        found = list(rows)
        for function, descends in reversed(self._order):
            found.sort(key=_sort_key(function, context), reverse=descends)
        return found

    @property
    def is_ordered_by_index(self) -> bool:
        """True if the server finds the rows in the wished order, so that it reads no more than the limit."""
        if self._by_key:
            return True
        schema, first = self.table.schema, self.select.order[0][0]
        indexed = {columns[0] for _, columns in schema.indexes} if schema is not None else set()
        return isinstance(first, Column) and first.name in indexed

    def ordered_keys(self, context: Context, table: Table) -> Sequence[Any]:
        """The keys to lock, in the order in which the server reads them."""
        keys = self.path.keys(context, table, self.table.source.partition)
        if self._by_key or not self.is_ordered_by_index:
            return keys
        rows = [row for key in keys if (row := _newest(table, key)) is not None]
        return [row[table.schema.key] for row in self.ordered(rows, context)]

    def _selected(self, context: Context) -> Iterator[Row]:
        if not self._relations:
            yield ()
            return
        descending = self._by_key and bool(self.select.order) and self.select.order[0][1]
        only = len(self._relations) == 1
        rows = self._relations[0].rows(context, self._paths[0], descending) if only else self._joined(context, 0, ())
        for row in rows:
            context.row = row
            if self.where is None or self.where(context):
                yield row

    def _joined(self, context: Context, at: int, before: Row) -> Iterator[Row]:
        if at == len(self._relations):
            yield before
            return
        relation, condition = self._relations[at], self._conditions[at]
        context.row = before
        found = False
        for row in relation.rows(context, self._paths[at]):
            joined = before + row if before else row
            if condition is not None:
                context.row = joined
                if not condition(context):
                    continue
            found = True
            yield from self._joined(context, at + 1, joined)
        if not found and relation.source.left:
            yield from self._joined(context, at + 1, before + (None,) * len(relation.columns))

    def _is_key_order(self) -> bool:
        """True if the rows come in the wished order by themselves."""
        if len(self.select.order) != 1 or len(self._relations) != 1:
            return not self.select.order
        return self._relations[0].is_key(self.select.order[0][0])

    def _asks_for_ends(self) -> bool:
        """True if the first and the last row suffice for all aggregates."""
        one_table = len(self._relations) == 1 and self._relations[0].schema is not None
        return (
            one_table
            and not any(conjuncts(self.select.where))
            and all(self._is_end(output.expression) for output in self.select.outputs)
        )

    def _is_end(self, expression: Expression) -> bool:
        if isinstance(expression, Call) and expression.name in ("MIN", "MAX"):
            return self._relations[0].is_key(expression.arguments[0])
        if isinstance(expression, Call) and not is_aggregate(expression):
            return True
        if isinstance(expression, Call) and expression.name in ("COUNT", "SUM", "BIT_XOR"):
            return False
        parts = expression.arguments if isinstance(expression, Call) else getattr(expression, "operands", ())
        return all(map(self._is_end, parts))

    def _ends(self, context: Context) -> list[Row]:
        relation, path = self._relations[0], self._paths[0]
        first = next(relation.rows(context, path), None)
        if first is None:
            return []
        return [first, next(relation.rows(context, path, True))]


def _newest(table: Table, key: Any) -> Row | None:
    """The values of an index's entry: of the open transaction, if one has changed the row."""
    record = table.get(key)
    if record is None:
        return None
    return record.pending if record.pending is not None else record.committed


def _sort_key(function: Function, context: Context) -> Callable[[Row], Any]:
    def key(row: Row) -> Any:
        context.row = row
        value = function(context)
        return (value is not None, value)

    return key


_queries: dict[Select, Query] = {}
QUERIES_MAX = 10_000


def query_of(select: Select, session: Reads) -> Query:
    """The compiled query. It is kept for the whole process, as all servers share their tables' definitions."""
    found = _queries.get(select)
    if found is None or not found.fits(session):
        if len(_queries) > QUERIES_MAX:
            _queries.clear()
        found = _queries[select] = Query(select, session)
    return found

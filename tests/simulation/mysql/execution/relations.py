"""The sources of rows of a query: tables, tables of information_schema, and other queries."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from tests.simulation.mysql.execution.access import KeyPath
from tests.simulation.mysql.sql.context import Context, Row, Server
from tests.simulation.mysql.sql.nodes import Column, Expression, Select, Source
from tests.simulation.mysql.storage.tables import Schema, Table, Transaction


class Reads(Server, Protocol):
    """A session, as far as a query needs it."""

    @property
    def reader(self) -> Transaction | None: ...
    def table(self, name: str) -> Table:
        """Raises 1146."""

    def information(self, table: str) -> tuple[Sequence[str], Sequence[Row]]:
        """The columns and rows of a table of information_schema."""


Rows = Iterable[Row]


class Subselect(Protocol):
    """A compiled query."""

    names: list[str]
    schemas: list[tuple[str, Schema]]

    def rows(self, context: Context) -> list[Row]: ...


class Relation:
    """A source of rows in a query: its columns, and how to find them. `offset` is its place in a joined row.

    `make` compiles a query in parentheses.
    """

    def __init__(
        self, source: Source, session: Reads, offset: int, make: Callable[[Select, Reads], "Subselect"]
    ) -> None:
        self.source = source
        self.offset = offset
        self.schema: Schema | None = None
        self.query: Subselect | None = None
        self._ignores_case = bool(source.schema)
        if source.query is not None:
            self.query = make(source.query, session)
            self.columns: Sequence[str] = self.query.names
        elif source.schema:
            self.columns = session.information(source.table)[0]
        else:
            self.schema = session.table(source.table).schema
            self.columns = [column.name for column in self.schema.columns]
        self._places = {self._cased(name): offset + at for at, name in enumerate(self.columns)}

    def _cased(self, name: str) -> str:
        return name.lower() if self._ignores_case else name

    def place(self, name: str) -> int | None:
        return self._places.get(self._cased(name))

    def is_key(self, expression: Expression) -> bool:
        if not isinstance(expression, Column) or self.schema is None:
            return False
        of_this = not expression.table or expression.table == self.source.name
        return of_this and self.schema.places.get(expression.name) == self.schema.key

    def rows(self, context: Context, path: KeyPath, descending: bool = False) -> Iterator[Row]:
        session: Any = context.server
        if self.query is not None:
            outer = context.row
            rows = self.query.rows(context)
            context.row = outer
            yield from rows
        elif self.schema is None:
            yield from session.information(self.source.table)[1]
        else:
            table, reader = session.table(self.source.table), session.reader
            keys = path.keys(context, table, self.source.partition)
            for key in reversed(keys) if descending else keys:
                record = table.get(key)
                if record is not None and (row := record.seen_by(reader)) is not None:
                    yield row

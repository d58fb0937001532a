"""Parses the statements of the service."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tests.simulation.mysql.errors import Unsupported, error
from tests.simulation.mysql.sql.definitions import DefinitionParser
from tests.simulation.mysql.sql.expressions import ExpressionParser, Reader
from tests.simulation.mysql.sql.nodes import (
    Command,
    Delete,
    Expression,
    Insert,
    Node,
    Output,
    Select,
    SetVariables,
    Show,
    Source,
    Update,
)
from tests.simulation.mysql.sql.tokens import tokens_of

SHAPES_MAX = 10_000


@lru_cache(SHAPES_MAX)
def parsed(shape: bytes, mariadb: bool) -> Node | None:
    """The statement; None if it is empty for this server. Raises the server's error for a wrong one."""
    reader = Reader(tokens_of(shape.decode(), mariadb))
    if reader.ended:
        return None
    found = Parser(reader).statement()
    if not reader.ended:
        raise Unsupported(f"{shape.decode()} at {reader.next}")
    return found


class Parser:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._expressions = ExpressionParser(reader, self._query)

    def statement(self) -> Node:
        reader = self._reader
        if reader.words("SET", "STATEMENT"):  # MariaDB's limit of one statement
            self._assignments()
            reader.expect("FOR")
        word = reader.next.text.upper()
        method = _STATEMENTS.get(word)
        if reader.sign("("):
            return self._in_parentheses()
        if method is None:
            return DefinitionParser(reader, self._expressions).command(word)
        if word != "SELECT":
            reader.take()
        return method(self)

    def _in_parentheses(self) -> Select:
        first = self._query()
        self._reader.expect(")")
        return self._with_further(first)

    def _select(self) -> Select:
        return self._query()

    def _query(self) -> Select:
        reader = self._reader
        if reader.sign("("):
            return self._in_parentheses()
        reader.expect("SELECT")
        star = reader.sign("*")
        outputs = () if star else self._outputs()
        sources = self._sources() if reader.words("FROM") else ()
        where = self._expressions.parse() if reader.words("WHERE") else None
        order, limit, offset = self._order(), None, None
        if reader.words("LIMIT"):
            limit = self._expressions.parse()
            if reader.sign(","):
                offset, limit = limit, self._expressions.parse()
        lock, skips = self._lock()
        found = Select(outputs, star, sources, where, order, limit, offset, lock, skips)  # type: ignore[arg-type]
        return self._with_further(found)

    def _with_further(self, first: Select) -> Select:
        reader = self._reader
        if not reader.words("UNION", "ALL"):
            return first
        parenthesised = reader.sign("(")
        second = self._query()
        if parenthesised:
            reader.expect(")")
            second = self._with_further(second)
        values = {name: getattr(first, name) for name in Select.__struct_fields__}
        return Select(**{**values, "further": (_without_further(second), *second.further)})

    def _outputs(self) -> tuple[Output, ...]:
        found = []
        while True:
            expression = self._expressions.parse()
            alias = self._reader.name() if self._reader.words("AS") else getattr(expression, "name", "")
            found.append(Output(expression, alias))
            if not self._reader.sign(","):
                return tuple(found)

    def _sources(self) -> tuple[Source, ...]:
        reader = self._reader
        found = [self._source(left=False)]
        while True:
            left = reader.words("LEFT")
            if not reader.words("JOIN"):
                return tuple(found)
            found.append(self._source(left))

    def _source(self, left: bool) -> Source:
        reader = self._reader
        query, table, schema, partition = None, "", "", ""
        if reader.sign("("):
            query = self._query()
            reader.expect(")")
        else:
            table = reader.name()
            if reader.sign("."):
                schema, table = table, reader.name()
            if reader.words("PARTITION"):
                partition = reader.names()[0]
        alias = reader.name() if reader.words("AS") else ""
        if reader.words("IGNORE", "INDEX"):
            reader.words("FOR", "ORDER", "BY")
            reader.names()
        on = self._expressions.parse() if reader.words("ON") else None
        using = reader.names() if reader.words("USING") else ()
        return Source(table, schema, query, alias, partition, left, on, using)

    def _order(self) -> tuple[tuple[Expression, bool], ...]:
        reader = self._reader
        if not reader.words("ORDER", "BY"):
            return ()
        found = []
        while True:
            expression = self._expressions.parse()
            descends = reader.words("DESC")
            reader.words("ASC")
            found.append((expression, descends))
            if not reader.sign(","):
                return tuple(found)

    def _lock(self) -> tuple[str, bool]:
        reader = self._reader
        if reader.words("LOCK", "IN", "SHARE", "MODE"):
            return "share", False
        if reader.words("FOR", "UPDATE"):
            return "update", reader.words("SKIP", "LOCKED")
        return "", False

    def _insert(self) -> Insert:
        reader = self._reader
        ignores = reader.words("IGNORE")
        reader.expect("INTO")
        table = reader.name()
        columns = reader.names() if reader.next == ("sign", "(") else ()
        values: tuple[Expression, ...] = ()
        query = None
        if reader.words("VALUES"):
            reader.expect("(")
            values = self._expressions.listed()
        else:
            query = self._query()
        updates = self._assignments() if reader.words("ON", "DUPLICATE", "KEY", "UPDATE") else ()
        return Insert(table, columns, values, query, ignores, updates)

    def _update(self) -> Update:
        table = self._reader.name()
        self._reader.expect("SET")
        sets = self._assignments()
        return Update(table, sets, self._where())

    def _delete(self) -> Delete:
        self._reader.expect("FROM")
        table = self._reader.name()
        where, order = self._where(), self._order()
        limit = self._expressions.parse() if self._reader.words("LIMIT") else None
        return Delete(table, where, order, limit)

    def _where(self) -> Expression:
        return self._expressions.parse() if self._reader.words("WHERE") else None

    def _assignments(self) -> tuple[tuple[str, Any], ...]:
        reader = self._reader
        found = []
        while True:
            name = reader.take().text
            reader.expect("=")
            found.append((name, self._expressions.parse()))
            if not reader.sign(","):
                return tuple(found)

    def _set(self) -> Node:
        reader = self._reader
        if reader.words("NAMES"):
            while not reader.ended:
                reader.take()
            return Command("SET NAMES")
        reader.words("SESSION")
        if reader.words("TRANSACTION"):
            while not reader.ended:
                reader.take()
            return Command("SET TRANSACTION")
        return SetVariables(self._assignments())

    def _show(self) -> Show:
        reader = self._reader
        if reader.words("CREATE", "TABLE"):
            return Show("CREATE TABLE", None, reader.name())
        scope = reader.take().text.upper()
        what = reader.take().text.upper()
        if scope not in ("SESSION", "GLOBAL") or what not in ("VARIABLES", "STATUS"):
            raise error(1064, f"{scope} {what}")
        return Show(what, self._where())


_STATEMENTS: dict[str, Callable[[Parser], Node]] = {
    "SELECT": Parser._select,
    "INSERT": Parser._insert,
    "UPDATE": Parser._update,
    "DELETE": Parser._delete,
    "SET": Parser._set,
    "SHOW": Parser._show,
}


def _without_further(query: Select) -> Select:
    values = {name: getattr(query, name) for name in Select.__struct_fields__}
    return Select(**{**values, "further": ()})

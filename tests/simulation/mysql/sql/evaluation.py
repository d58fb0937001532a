"""Makes functions of expressions. NULL is None, and most operators give NULL for NULL.

An expression becomes source in Python, which is compiled once. A statement evaluates it for each row.
"""

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from tests.simulation.mysql.errors import Unsupported
from tests.simulation.mysql.sql import functions
from tests.simulation.mysql.sql.context import Context, Function, Places, no_columns
from tests.simulation.mysql.sql.nodes import (
    Call,
    Column,
    Constant,
    Expression,
    Interval,
    Member,
    Operation,
    Param,
    Subquery,
    Variable,
)
from tests.simulation.mysql.sql.operators import NAMES, OPERATORS
from tests.simulation.mysql.sql.values import LITERALS, Moment, as_moment, plain

EXPRESSIONS_KEPT = 1000
LITERALS_KEPT = 4096
READERS = {**LITERALS, "plain": lru_cache(LITERALS_KEPT)(plain)}
"""The literals of a condition are read for each row."""


def is_aggregate(expression: Expression) -> bool:
    if isinstance(expression, Call):
        return expression.name in functions.AGGREGATES or any(map(is_aggregate, expression.arguments))
    return isinstance(expression, Operation) and any(map(is_aggregate, expression.operands))


def compiled(expression: Expression, places: Places) -> Function:
    source = _Source(places)
    return source.function(source.of(expression))


@lru_cache(EXPRESSIONS_KEPT)
def without_columns(expression: Expression) -> Function:
    """The function of an expression that reads no row."""
    return compiled(expression, no_columns)


def compiled_row(expressions: Sequence[Expression], places: Places) -> Function:
    """Makes a tuple of the values of all expressions."""
    source = _Source(places)
    return source.function("(" + "".join(f"{source.of(one)}, " for one in expressions) + ")")


class _Source:
    """Writes the source of one function, of the argument `context`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._numbers = count()
        self._known = dict(NAMES)
        """The values that the source uses, by name."""

    def function(self, source: str) -> Function:
        made: Function = eval(f"lambda context: {source}", self._known)
        return made

    def of(self, expression: Expression) -> str:
        make = _MAKERS.get(type(expression))
        if make is None:
            raise Unsupported(repr(expression))
        return make(self, expression)

    def _name_of(self, value: object) -> str:
        name = f"known_{next(self._numbers)}"
        self._known[name] = value
        return name

    def _call_of(self, function: object, *arguments: str) -> str:
        return f"{self._name_of(function)}({', '.join(arguments)})"

    def param(self, expression: Param) -> str:
        return self._call_of(READERS[expression.kind], f"context.params[{expression.index}]")

    def constant(self, expression: Constant) -> str:
        return self._name_of(expression.value)

    def column(self, expression: Column) -> str:
        return f"context.row[{self._places(expression.table, expression.name)}]"

    def variable(self, expression: Variable) -> str:
        return f"context.server.variable({expression.name!r})"

    def subquery(self, expression: Subquery) -> str:
        query = expression.query
        if expression.exists:
            return self._call_of(lambda context: int(bool(context.server.rows_of(query, context))), "context")

        def scalar(context: Context) -> Any:
            rows = context.server.rows_of(query, context)
            return rows[0][0] if rows else None

        return self._call_of(scalar, "context")

    def call(self, expression: Call) -> str:
        name, arguments = expression.name, expression.arguments
        if name in functions.AGGREGATES:
            return self._aggregate(expression)
        if name == "TIMESTAMPDIFF":
            unit = functions.UNIT_US[arguments[0].name]
            return self._call_of(_timestamp_difference, str(unit), *map(self.of, arguments[1:]))
        if name == "VALUES":
            return f"context.inserted[{self._places('', arguments[0].name)}]"
        if name in functions.OF_SERVER:
            return self._call_of(functions.OF_SERVER[name], "context.server", *map(self.of, arguments))
        if name not in functions.SIMPLE:
            raise Unsupported(name)
        return self._call_of(functions.SIMPLE[name], *map(self.of, arguments))

    def _aggregate(self, expression: Call) -> str:
        if expression.star:
            return "len(context.rows)"
        values = compiled(expression.arguments[0], self._places)
        return self._call_of(_over_rows(functions.AGGREGATES[expression.name], values), "context")

    def operation(self, expression: Operation) -> str:
        if isinstance(expression.operands[-1], Interval):
            moment, interval = expression.operands
            unit = functions.UNIT_US[interval.unit] * (1 if expression.operator == "+" else -1)
            return self._call_of(_later, self.of(moment), self.of(interval.amount), str(unit))
        number = next(self._numbers)
        make = OPERATORS[expression.operator]
        return make(*map(self.of, expression.operands), f"left_{number}", f"right_{number}")

    def member(self, expression: Member) -> str:
        name, within = f"value_{next(self._numbers)}", "not in" if expression.negated else "in"
        options = self._call_of(options_of(expression, self._places), "context")
        return f"(None if ({name} := {self.of(expression.value)}) is None else +({name} {within} {options}))"


def options_of(expression: Member, places: Places) -> Callable[[Context], Collection[Any]]:
    """The values after IN."""
    if not expression.is_list:
        return compiled_row(expression.options, places)
    (param,) = expression.options
    index, value = param.index, LITERALS[param.kind]

    def listed(context: Context) -> Collection[Any]:
        found = context.lists.get(index)
        if found is None:
            found = context.lists[index] = frozenset(map(value, context.params[index]))
        return found

    return listed


def _timestamp_difference(unit: int, first: Any, second: Any) -> Any:
    begin, end = as_moment(first), as_moment(second)
    return None if begin is None or end is None else int((end - begin) // unit)


def _over_rows(aggregate: Callable[[list[Any]], Any], argument: Function) -> Function:
    def made(context: Context) -> Any:
        values = []
        for row in context.rows:
            context.row = row
            value = argument(context)
            if value is not None:
                values.append(value)
        return aggregate(values)

    return made


def _later(moment: Any, amount: Any, unit: int) -> Any:
    begin = as_moment(moment)
    return None if begin is None else Moment(begin + amount * unit)


_MAKERS: dict[type, Callable[[_Source, Any], str]] = {
    Param: _Source.param,
    Constant: _Source.constant,
    Column: _Source.column,
    Variable: _Source.variable,
    Subquery: _Source.subquery,
    Call: _Source.call,
    Operation: _Source.operation,
    Member: _Source.member,
}

"""Makes functions of expressions. NULL is None, and most operators give NULL for NULL."""

from collections.abc import Callable, Collection
from typing import Any

from tests.simulation.mysql.errors import Unsupported
from tests.simulation.mysql.sql import functions
from tests.simulation.mysql.sql.context import Context, Function, Places
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
from tests.simulation.mysql.sql.operators import BINARY, SPECIAL, with_operator
from tests.simulation.mysql.sql.values import LITERALS, Moment, as_moment


def is_aggregate(expression: Expression) -> bool:
    if isinstance(expression, Call):
        return expression.name in functions.AGGREGATES or any(map(is_aggregate, expression.arguments))
    return isinstance(expression, Operation) and any(map(is_aggregate, expression.operands))


def compiled(expression: Expression, places: Places) -> Function:
    made = _MAKERS.get(type(expression))
    if made is None:
        raise Unsupported(repr(expression))
    return made(expression, places)


def _param(expression: Param, places: Places) -> Function:
    index, value = expression.index, LITERALS[expression.kind]
    return lambda context: value(context.params[index])


def _constant(expression: Constant, places: Places) -> Function:
    value = expression.value
    return lambda context: value


def _column(expression: Column, places: Places) -> Function:
    place = places(expression.table, expression.name)
    return lambda context: context.row[place]


def _variable(expression: Variable, places: Places) -> Function:
    name = expression.name
    return lambda context: context.server.variable(name)


def _subquery(expression: Subquery, places: Places) -> Function:
    query = expression.query
    if expression.exists:
        return lambda context: int(bool(context.server.rows_of(query, context)))

    def scalar(context: Context) -> Any:
        rows = context.server.rows_of(query, context)
        return rows[0][0] if rows else None

    return scalar


def _call(expression: Call, places: Places) -> Function:
    name = expression.name
    if name == "TIMESTAMPDIFF":
        unit = functions.UNIT_US[expression.arguments[0].name]
        return _timestamp_difference(unit, *(compiled(one, places) for one in expression.arguments[1:]))
    arguments = [compiled(one, places) for one in expression.arguments]
    if name == "COUNT" and expression.star:
        return lambda context: len(context.rows)
    if name in functions.AGGREGATES:
        return _aggregate(functions.AGGREGATES[name], arguments[0])
    if name == "VALUES":
        place = places("", expression.arguments[0].name)
        return lambda context: context.inserted[place]
    if name in functions.OF_SERVER:
        of_server = functions.OF_SERVER[name]
        return lambda context: of_server(context.server, *(one(context) for one in arguments))
    if name not in functions.SIMPLE:
        raise Unsupported(name)
    simple = functions.SIMPLE[name]
    return lambda context: simple(*(one(context) for one in arguments))


def _timestamp_difference(unit: int, first: Function, second: Function) -> Function:
    def difference(context: Context) -> Any:
        begin, end = as_moment(first(context)), as_moment(second(context))
        return None if begin is None or end is None else int((end - begin) // unit)

    return difference


def _aggregate(aggregate: Callable[[list[Any]], Any], argument: Function) -> Function:
    def over_rows(context: Context) -> Any:
        values = []
        for row in context.rows:
            context.row = row
            value = argument(context)
            if value is not None:
                values.append(value)
        return aggregate(values)

    return over_rows


def _operation(expression: Operation, places: Places) -> Function:
    if isinstance(expression.operands[-1], Interval):
        return _later(expression, places)
    operands = [compiled(one, places) for one in expression.operands]
    special = SPECIAL.get(expression.operator)
    return special(*operands) if special else with_operator(BINARY[expression.operator], *operands)


def _later(expression: Operation, places: Places) -> Function:
    moment, interval = expression.operands
    first, amount = compiled(moment, places), compiled(interval.amount, places)
    unit = functions.UNIT_US[interval.unit] * (1 if expression.operator == "+" else -1)

    def later(context: Context) -> Any:
        begin = as_moment(first(context))
        return None if begin is None else Moment(begin + amount(context) * unit)

    return later


def _member(expression: Member, places: Places) -> Function:
    value, found = compiled(expression.value, places), options_of(expression, places)
    negated = expression.negated

    def member(context: Context) -> Any:
        one = value(context)
        return None if one is None else int((one in found(context)) != negated)

    return member


def options_of(expression: Member, places: Places) -> Callable[[Context], Collection[Any]]:
    """The values after IN."""
    if expression.is_list:
        (param,) = expression.options
        index, value = param.index, LITERALS[param.kind]

        def listed(context: Context) -> Collection[Any]:
            found = context.lists.get(index)
            if found is None:
                found = context.lists[index] = frozenset(map(value, context.params[index]))
            return found

        return listed
    options = [compiled(one, places) for one in expression.options]
    return lambda context: [one(context) for one in options]


_MAKERS: dict[type, Callable[[Any, Places], Function]] = {
    Param: _param,
    Constant: _constant,
    Column: _column,
    Variable: _variable,
    Subquery: _subquery,
    Call: _call,
    Operation: _operation,
    Member: _member,
}

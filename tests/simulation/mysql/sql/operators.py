"""Makes functions of operators and their operands. Most operators give NULL for NULL."""

import operator
from collections.abc import Callable
from typing import Any

from tests.simulation.mysql.sql import functions
from tests.simulation.mysql.sql.context import Context, Function
from tests.simulation.mysql.sql.values import Moment, as_moment


def _not(first: Function) -> Function:
    return lambda context: None if (value := first(context)) is None else int(not value)


def _is_null(first: Function) -> Function:
    return lambda context: int(first(context) is None)


def _negative(first: Function) -> Function:
    return lambda context: None if (value := first(context)) is None else -value


def _same(first: Function, second: Function) -> Function:
    return lambda context: int(first(context) == second(context))


def _and(first: Function, second: Function) -> Function:
    def both(context: Context) -> Any:
        left = first(context)
        if left is not None and not left:
            return 0
        right = second(context)
        if right is not None and not right:
            return 0
        return None if left is None or right is None else 1

    return both


def _or(first: Function, second: Function) -> Function:
    def either(context: Context) -> Any:
        left = first(context)
        if left:
            return 1
        right = second(context)
        if right:
            return 1
        return None if left is None or right is None else 0

    return either


def with_operator(made: Callable[[Any, Any], Any], first: Function, second: Function) -> Function:
    def result(context: Context) -> Any:
        left, right = first(context), second(context)
        if left is None or right is None:
            return None
        if type(left) is Moment and type(right) is str:
            right = as_moment(right)
        found = made(left, right)
        return int(found) if found is True or found is False else found

    return result


def _like(value: Any, pattern: Any) -> bool:
    return functions.like(str(value), str(pattern))


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "%": operator.mod,
    "&": operator.and_,
    "|": operator.or_,
    ">>": operator.rshift,
    "<<": operator.lshift,
    "LIKE": _like,
}
SPECIAL: dict[str, Callable[..., Function]] = {
    "AND": _and,
    "OR": _or,
    "NOT": _not,
    "IS NULL": _is_null,
    "NEGATIVE": _negative,
    "<=>": _same,
}
"""Operators with a rule of their own for NULL."""

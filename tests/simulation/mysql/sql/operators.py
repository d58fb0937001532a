"""The operators, as source in Python. Most give NULL for NULL, which is None.

Each takes the sources of its operands, and names for their values that no other part of the expression uses.
"""

from collections.abc import Callable
from typing import Any

from tests.simulation.mysql.sql import functions
from tests.simulation.mysql.sql.values import Moment, as_moment

Made = Callable[..., str]


def _not(first: str, a: str, b: str) -> str:
    return f"(None if ({a} := {first}) is None else +(not {a}))"


def _is_null(first: str, a: str, b: str) -> str:
    return f"+({first} is None)"


def _negative(first: str, a: str, b: str) -> str:
    return f"(None if ({a} := {first}) is None else -{a})"


def _same(first: str, second: str, a: str, b: str) -> str:
    return f"+({first} == {second})"


def _and(first: str, second: str, a: str, b: str) -> str:
    return (
        f"(0 if ({a} := {first}) is not None and not {a} else 0 if ({b} := {second}) is not None and not {b} "
        f"else None if {a} is None or {b} is None else 1)"
    )


def _or(first: str, second: str, a: str, b: str) -> str:
    return f"(1 if ({a} := {first}) else 1 if ({b} := {second}) else None if {a} is None or {b} is None else 0)"


def _comparison(sign: str) -> Made:
    """A text that is compared with a time is one."""

    def made(first: str, second: str, a: str, b: str) -> str:
        moment = f"as_moment({b}) if type({b}) is str and type({a}) is Moment else {b}"
        return f"(None if ({a} := {first}) is None or ({b} := {second}) is None else +({a} {sign} ({moment})))"

    return made


def _arithmetic(sign: str) -> Made:
    def made(first: str, second: str, a: str, b: str) -> str:
        return f"(None if ({a} := {first}) is None or ({b} := {second}) is None else {a} {sign} {b})"

    return made


def _like(first: str, second: str, a: str, b: str) -> str:
    return f"(None if ({a} := {first}) is None or ({b} := {second}) is None else +like(str({a}), str({b})))"


NAMES: dict[str, Any] = {"as_moment": as_moment, "Moment": Moment, "like": functions.like}
"""The values that the sources use, by name."""
OPERATORS: dict[str, Made] = {
    "NOT": _not,
    "IS NULL": _is_null,
    "NEGATIVE": _negative,
    "<=>": _same,
    "AND": _and,
    "OR": _or,
    "LIKE": _like,
    "=": _comparison("=="),
    "<>": _comparison("!="),
    **{sign: _comparison(sign) for sign in ("<", ">", "<=", ">=")},
    **{sign: _arithmetic(sign) for sign in ("+", "-", "*", "%", "&", "|", ">>", "<<")},
}

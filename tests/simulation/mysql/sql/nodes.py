"""The parts of a parsed statement."""

from typing import Any, Literal

import msgspec

Expression = Any
"""One of the first classes below."""


class Node(msgspec.Struct, frozen=True):
    pass


class Param(Node, frozen=True):
    """A literal. `kind` is how it was written: as itself, `_binary'…'` or `x'…'`."""

    index: int
    kind: Literal["plain", "binary", "hex"] = "plain"


class Constant(Node, frozen=True):
    value: Any


class Column(Node, frozen=True):
    name: str
    table: str = ""


class Variable(Node, frozen=True):
    """`@name` or `@@name`."""

    name: str


class Call(Node, frozen=True):
    name: str
    arguments: tuple[Expression, ...] = ()
    star: bool = False


class Operation(Node, frozen=True):
    """`operator` is a symbol, or AND, OR, NOT, LIKE, IS NULL."""

    operator: str
    operands: tuple[Expression, ...]


class Member(Node, frozen=True):
    """`value IN (…)`. `options` may have one `Param` for a list."""

    value: Expression
    options: tuple[Expression, ...]
    is_list: bool
    negated: bool = False


class Interval(Node, frozen=True):
    amount: Expression
    unit: str


class Subquery(Node, frozen=True):
    """`exists` asks only whether there are rows."""

    query: "Select"
    exists: bool = False


class Output(Node, frozen=True):
    expression: Expression
    name: str


class Source(Node, frozen=True):
    """A table, or a query in parentheses. `using` and `on` join it to those before."""

    table: str = ""
    schema: str = ""
    query: "Select | None" = None
    alias: str = ""
    partition: str = ""
    left: bool = False
    on: Expression = None
    using: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.alias or self.table


class Select(Node, frozen=True, eq=False):
    outputs: tuple[Output, ...]
    star: bool = False
    sources: tuple[Source, ...] = ()
    where: Expression = None
    order: tuple[tuple[Expression, bool], ...] = ()
    """Expressions, each with True if it descends."""
    limit: Expression = None
    offset: Expression = None
    lock: Literal["", "share", "update"] = ""
    skips_locked: bool = False
    further: tuple["Select", ...] = ()
    """Those after UNION ALL."""


class Insert(Node, frozen=True, eq=False):
    table: str
    columns: tuple[str, ...]
    values: tuple[Expression, ...] = ()
    """One row. The literals of further rows follow those of this one."""
    query: Select | None = None
    ignores: bool = False
    updates: tuple[tuple[str, Expression], ...] = ()


class Update(Node, frozen=True, eq=False):
    table: str
    sets: tuple[tuple[str, Expression], ...]
    where: Expression = None


class Delete(Node, frozen=True, eq=False):
    table: str
    where: Expression = None
    order: tuple[tuple[Expression, bool], ...] = ()
    limit: Expression = None


class SetVariables(Node, frozen=True, eq=False):
    values: tuple[tuple[str, Expression], ...]


class Show(Node, frozen=True, eq=False):
    """`what` is VARIABLES, STATUS or CREATE TABLE."""

    what: str
    where: Expression = None
    table: str = ""


class Command(Node, frozen=True):
    """A statement of a few words, as COMMIT or DROP TABLE. `details` depend on it."""

    name: str
    details: tuple[Any, ...] = ()


class ColumnDefinition(Node, frozen=True):
    """`type` is as information_schema shows it. `length` is in characters, or in bytes for binary types."""

    name: str
    type: str
    length: int | None
    nullable: bool
    default: Any = None
    has_default: bool = False
    charset: str | None = None
    collation: str | None = None


class CreateTable(Node, frozen=True):
    name: str
    columns: tuple[ColumnDefinition, ...]
    primary_key: str
    indexes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    if_not_exists: bool = False
    like: str = ""

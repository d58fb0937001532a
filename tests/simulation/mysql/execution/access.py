"""Finds the rows that a condition may select, by the primary key."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from tests.simulation.mysql.sql.context import Context, Function, Places
from tests.simulation.mysql.sql.evaluation import compiled, options_of
from tests.simulation.mysql.sql.nodes import Call, Column, Expression, Member, Node, Operation, Select, Source, Variable
from tests.simulation.mysql.storage.tables import Table

TURNED = {"=": "=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


def conjuncts(condition: Expression) -> Iterator[Expression]:
    """The conditions that must all hold."""
    if isinstance(condition, Operation) and condition.operator == "AND":
        for one in condition.operands:
            yield from conjuncts(one)
    elif condition is not None:
        yield condition


def has_columns(expression: Expression, of: Callable[[Column], bool] = lambda column: True) -> bool:
    if isinstance(expression, Column):
        return of(expression)
    if isinstance(expression, Operation):
        return any(has_columns(one, of) for one in expression.operands)
    if isinstance(expression, Call):
        return any(has_columns(one, of) for one in expression.arguments)
    return False


ROWS = "TABLE_ROWS"
"""The column of information_schema that counts rows."""
OF_THE_MOMENT = {"UTC_TIMESTAMP", "CONNECTION_ID", "IS_USED_LOCK", "GET_LOCK"}


def depends_on_definitions(node: Any) -> bool:
    """True if a query reads only definitions in information_schema, and nothing of its session or of the time."""
    if isinstance(node, tuple):
        return all(map(depends_on_definitions, node))
    if not isinstance(node, Node):
        return True
    return not _depends_on_more(node) and all(
        depends_on_definitions(getattr(node, name)) for name in node.__struct_fields__
    )


def _depends_on_more(node: Node) -> bool:
    if isinstance(node, Source):
        return node.query is None and (not node.schema or node.table.upper() == "PARTITIONS")
    if isinstance(node, Select):
        return node.star
    if isinstance(node, Call):
        return node.name in OF_THE_MOMENT
    return isinstance(node, Variable) or (isinstance(node, Column) and node.name.upper() == ROWS)


class KeyPath:
    """`is_key` recognizes the key's column. Other columns that a condition compares it with must be in `places`."""

    def __init__(self, condition: Expression, is_key: Callable[[Expression], bool], places: Places) -> None:
        self._options: Callable[[Context], Collection[Any]] | None = None
        self._same: Function | None = None
        self._lows: list[Function] = []
        self._highs: list[Function] = []
        for one in conjuncts(condition):
            if isinstance(one, Member) and not one.negated and is_key(one.value):
                self._options = options_of(one, places)
            elif isinstance(one, Operation) and one.operator in TURNED:
                self._note(one, is_key, places)

    def _note(self, comparison: Operation, is_key: Callable[[Expression], bool], places: Places) -> None:
        operator, (left, right) = comparison.operator, comparison.operands
        if is_key(right):
            operator, left, right = TURNED[operator], right, left
        if not is_key(left) or has_columns(right, lambda column: not _knows(places, column)):
            return
        value = compiled(right, places)
        if operator == "=":
            self._same = value
        elif operator in (">", ">="):
            self._lows.append(value)
        else:
            self._highs.append(value)

    @property
    def is_exact(self) -> bool:
        """True if the condition names the keys."""
        return self._same is not None or self._options is not None

    def keys(self, context: Context, table: Table, partition: str = "") -> Sequence[Any]:
        """The keys are in ascending order. Some may not fulfil the condition, and some may not exist."""
        if self._same is not None:
            value = self._same(context)
            return () if value is None else (value,)
        if self._options is not None:
            return sorted(set(self._options(context)) - {None})
        lows = [value for one in self._lows if (value := one(context)) is not None]
        highs = [value for one in self._highs if (value := one(context)) is not None]
        if partition:
            low, high = table.range_of(partition)
            lows += [] if low is None else [low]
            highs += [] if high is None else [high]
        return table.keys(max(lows, default=None), min(highs, default=None))


def _knows(places: Places, column: Column) -> bool:
    try:
        places(column.table, column.name)
    except Exception:
        return False
    return True

"""The values that a function of a row uses: its literals, the row, and the session."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tests.simulation.mysql.errors import error
from tests.simulation.mysql.sql.nodes import Select
from tests.simulation.mysql.sql.values import Moment

Row = tuple[Any, ...]


class Server(Protocol):
    """A function may ask this about the session and its server."""

    mariadb: bool
    database: str
    connection_id: int
    now: Moment
    """The time at which the statement began."""

    def variable(self, name: str) -> Any: ...
    def lock_owner(self, name: str) -> int | None:
        """The session that has the lock of GET_LOCK."""

    def rows_of(self, query: Select, context: "Context") -> list[Row]:
        """Execute a query in another one."""


class Context:
    """The values for one statement: its literals, the current row, all rows of the group, and the row to insert."""

    __slots__ = ("inserted", "lists", "params", "row", "rows", "server")

    def __init__(self, server: Server, params: Sequence[Any]) -> None:
        self.server = server
        self.params = params
        self.row: Row = ()
        self.rows: Sequence[Row] = ()
        self.inserted: Row = ()
        self.lists: dict[int, frozenset[Any]] = {}
        """The values of each list of literals, once they are needed."""


Function = Callable[[Context], Any]
Places = Callable[[str, str], int]
"""The place in a row of a column, by its table's name (or "") and its own. Raises error 1054."""


def no_columns(table: str, name: str) -> int:
    raise error(1054, f"{table}.{name}" if table else name, "field list")

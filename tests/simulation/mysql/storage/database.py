"""The data of a server, which survives its crash: tables, and the newest commits, which a failover may lose."""

from collections import deque

from tests.simulation.mysql.errors import error
from tests.simulation.mysql.sql.context import Row
from tests.simulation.mysql.storage.tables import Table, Transaction

COMMITS_MAX = 200
"""The newest commits that can be lost."""

Commit = list[tuple[Table, object, Row | None]]
"""The rows as they were before: the table, the key and the values."""


class Database:
    """`name` is the only database of the server."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tables: dict[str, Table] = {}
        self.version = 0
        """Another number after each change of a definition."""
        self.commits = 0
        self._newest: deque[Commit] = deque(maxlen=COMMITS_MAX)

    def table(self, name: str) -> Table:
        found = self.tables.get(name)
        if found is None:
            raise error(1146, f"{self.name}.{name}")
        return found

    def copy(self) -> "Database":
        """A database with the same committed rows, and tables of the same definitions."""
        made = Database(self.name)
        made.tables = {name: table.copy() for name, table in self.tables.items()}
        made.version = self.version
        return made

    def commit(self, transaction: Transaction) -> None:
        if before := transaction.commit():
            self.commits += 1
            self._newest.append(before)

    def changed(self) -> None:
        """Note a change of a definition. Commits before it cannot be lost any more."""
        self.version += 1
        self._newest.clear()

    def lose_commits(self, count: int) -> int:
        """Undo the newest commits, as a replica does that never got them. Return how many there were.

        No transaction may be open.
        """
        lost = 0
        while lost < count and self._newest:
            for table, key, values in reversed(self._newest.pop()):
                record = table.get(key)
                if values is None:
                    if record is not None:
                        table.forget(record)
                else:
                    (record or table.add(key)).committed = values
            lost += 1
        return lost

    def empty(self, name: str) -> None:
        """Delete all rows of a table. No transaction may be open."""
        table = self.tables[name]
        for row in [*table.committed_rows()]:
            if record := table.get(row[table.schema.key]):
                table.forget(record)

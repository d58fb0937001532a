"""One session of a server: its variables, its transaction, and the statements that it executes."""

from collections.abc import Sequence
from typing import Any

from tests.simulation.mysql.errors import DEADLOCK, error
from tests.simulation.mysql.execution.reading import query_of
from tests.simulation.mysql.execution.statements import METHODS, Result
from tests.simulation.mysql.sql.context import Context, Row
from tests.simulation.mysql.sql.nodes import Select
from tests.simulation.mysql.sql.parser import parsed
from tests.simulation.mysql.sql.shape import Statement
from tests.simulation.mysql.sql.values import Moment
from tests.simulation.mysql.storage.locks import Owner, acquire
from tests.simulation.mysql.storage.tables import Table, Transaction


class Session(Owner):
    """Implements `Writes`. As an `Owner` it has the locks of GET_LOCK and LOCK TABLES."""

    def __init__(self, server: Any, connection_id: int) -> None:
        super().__init__()
        self.server = server
        self.connection_id = connection_id
        self.mariadb: bool = server.mariadb
        self.database: str = server.database.name
        self.now = Moment(0)
        self.autocommit = True
        self.variables: dict[str, Any] = {}
        self.prepared: dict[str, str] = {}
        self._transaction: Transaction | None = None
        self._began = False
        """BEGIN was executed, so the transaction lasts until COMMIT."""
        self.locks_tables = False
        self.has_ended = False

    @property
    def is_waiting(self) -> bool:
        """True while a statement waits for a lock."""
        return any(owner is not None and owner.waits_for is not None for owner in (self, self._transaction))

    # A statement asks these about its session

    @property
    def reader(self) -> Transaction | None:
        return self._transaction

    @property
    def transaction(self) -> Transaction:
        if self._transaction is None:
            self._transaction = Transaction()
        return self._transaction

    @property
    def row_wait_seconds(self) -> float:
        return float(self.variables.get("innodb_lock_wait_timeout", 50))

    def table(self, name: str) -> Table:
        found: Table = self.server.database.table(name)
        return found

    def information(self, table: str) -> tuple[Sequence[str], Sequence[Row]]:
        found: tuple[Sequence[str], Sequence[Row]] = self.server.information.rows(table)
        return found

    def variable(self, name: str) -> Any:
        if name.startswith("@@global."):
            return self.server.variables[name.removeprefix("@@global.")]
        return self.variables.get(name)

    def lock_owner(self, name: str) -> int | None:
        found: int | None = self.server.owner_of(name)
        return found

    def rows_of(self, query: Select, context: Context) -> list[Row]:
        return query_of(query, self).rows(Context(self, context.params))

    # Statements

    async def execute(self, statement: Statement) -> Result | None:
        """None if this server reads nothing in it. Raises the driver's error."""
        node = parsed(statement.shape, self.mariadb)
        if node is None:
            return None
        self.now = Moment(self.server.now_us())
        method = METHODS[type(node)]
        changes = len(self._transaction.changes) if self._transaction else 0
        try:
            result: Result = await method(self, node, statement)
        except Exception as exc:
            self._undo(exc, changes)
            raise
        if not self.in_transaction:
            self.commit()
        return result

    @property
    def in_transaction(self) -> bool:
        return self._began or not self.autocommit

    def _undo(self, exc: Exception, changes: int) -> None:
        """A deadlock ends the transaction. Another error undoes the statement only."""
        if self._transaction is None:
            return
        if exc.args[:1] == (DEADLOCK,) or not self.in_transaction:
            self.roll_back()
        else:
            self._transaction.back_to(changes)

    def commit(self) -> None:
        transaction, self._transaction, self._began = self._transaction, None, False
        if transaction is not None:
            self.server.database.commit(transaction)

    def commit_or_refuse(self) -> None:
        """A server that has become read-only refuses and undoes what was written before."""
        if self.server.read_only and self._transaction is not None and self._transaction.changes:
            self.roll_back()
            raise error(1290)
        self.commit()

    def roll_back(self) -> None:
        transaction, self._transaction, self._began = self._transaction, None, False
        if transaction is not None:
            transaction.roll_back()

    def end(self) -> None:
        """The connection has ended: undo what is not committed, and release all locks."""
        self.has_ended = True
        self.roll_back()
        self.release_locks()

    async def use_to_write(self, table: str) -> None:
        self.check_writable()
        await self.use(table, keeps=True)

    async def use(self, name: str, keeps: bool) -> None:
        """Wait while somebody changes the table's definition. `keeps`: nobody may until the transaction has ended."""
        if self.locks_tables:
            return
        lock = self.table(name).lock
        if keeps:
            if self.transaction not in lock.holders:
                await acquire(lock, self.transaction, False, self.table_wait_seconds)
        elif not lock.is_free_for(self, False):
            await acquire(lock, self, False, self.table_wait_seconds)
            lock.release(self)

    @property
    def table_wait_seconds(self) -> float:
        return float(self.variables.get("lock_wait_timeout", 86400))

    def check_writable(self) -> None:
        if self.server.read_only:
            raise error(1290)
        if self.server.refuses_writes:
            raise error(self.server.refuses_writes)

    def begin(self) -> None:
        self.commit()
        self._began = True

    def unlock_tables(self) -> None:
        self.locks_tables = False
        for table in self.server.database.tables.values():
            if self in table.lock.holders:
                table.lock.release(self)

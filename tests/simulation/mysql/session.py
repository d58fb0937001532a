"""One session of a server: its variables, its transaction, and the statements that it executes."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.mysql.errors import DEADLOCK, error
from tests.simulation.mysql.execution.locking import locking_rows
from tests.simulation.mysql.execution.reading import query_of
from tests.simulation.mysql.execution.writing import DeletePlan, InsertPlan, UpdatePlan
from tests.simulation.mysql.sql.context import Context, Row, no_columns
from tests.simulation.mysql.sql.evaluation import compiled
from tests.simulation.mysql.sql.nodes import (
    Command,
    CreateTable,
    Delete,
    Insert,
    Node,
    Select,
    SetVariables,
    Show,
    Update,
)
from tests.simulation.mysql.sql.parser import parsed
from tests.simulation.mysql.sql.shape import Statement, statements_of
from tests.simulation.mysql.sql.values import Moment
from tests.simulation.mysql.storage.database import Database
from tests.simulation.mysql.storage.definitions import Definitions
from tests.simulation.mysql.storage.locks import Lock, Owner, acquire
from tests.simulation.mysql.storage.tables import Table, Transaction

Result = tuple[list[Row] | None, int]
"""The rows, or None for a statement without a result, and the number of changed rows."""
NO_ROWS: Result = (None, 0)


class Session(Owner):
    """Implements `Writes`. As an `Owner` it has the locks of GET_LOCK and LOCK TABLES."""

    def __init__(self, server: Any, connection_id: int) -> None:
        super().__init__()
        self._server = server
        self.connection_id = connection_id
        self.mariadb: bool = server.mariadb
        self.database: str = server.database.name
        self.now = Moment(0)
        self.autocommit = True
        self.variables: dict[str, Any] = {}
        self._prepared: dict[str, str] = {}
        self._transaction: Transaction | None = None
        self._began = False
        """BEGIN was executed, so the transaction lasts until COMMIT."""
        self._locks_tables = False
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
        found: Table = self._server.database.table(name)
        return found

    def information(self, table: str) -> tuple[Sequence[str], Sequence[Row]]:
        found: tuple[Sequence[str], Sequence[Row]] = self._server.information.rows(table)
        return found

    def variable(self, name: str) -> Any:
        if name.startswith("@@global."):
            return self._server.variables[name.removeprefix("@@global.")]
        return self.variables.get(name)

    def lock_owner(self, name: str) -> int | None:
        found: int | None = self._server.owner_of(name)
        return found

    def rows_of(self, query: Select, context: Context) -> list[Row]:
        return query_of(query, self).rows(Context(self, context.params))

    # Statements

    async def execute(self, statement: Statement) -> Result | None:
        """None if this server reads nothing in it. Raises the driver's error."""
        node = parsed(statement.shape, self.mariadb)
        if node is None:
            return None
        self.now = Moment(self._server.now_us())
        method = _METHODS[type(node)]
        changes = len(self._transaction.changes) if self._transaction else 0
        try:
            result: Result = await method(self, node, statement)
        except Exception as exc:
            self._undo(exc, changes)
            raise
        if not self._in_transaction:
            self.commit()
        return result

    @property
    def _in_transaction(self) -> bool:
        return self._began or not self.autocommit

    def _undo(self, exc: Exception, changes: int) -> None:
        """A deadlock ends the transaction. Another error undoes the statement only."""
        if self._transaction is None:
            return
        if exc.args[:1] == (DEADLOCK,) or not self._in_transaction:
            self.roll_back()
        else:
            self._transaction.back_to(changes)

    def commit(self) -> None:
        transaction, self._transaction, self._began = self._transaction, None, False
        if transaction is not None:
            self._server.database.commit(transaction)

    def roll_back(self) -> None:
        transaction, self._transaction, self._began = self._transaction, None, False
        if transaction is not None:
            transaction.roll_back()

    def end(self) -> None:
        """The connection has ended: undo what is not committed, and release all locks."""
        self.has_ended = True
        self.roll_back()
        self.release_locks()

    async def _select(self, node: Select, statement: Statement) -> Result:
        if len(node.outputs) == 1 and getattr(node.outputs[0].expression, "name", "") == "GET_LOCK":
            return [(await self._get_lock(node, statement),)], 0
        query = query_of(node, self)
        for name in _tables_of(node):
            await self._use(name, keeps=self._in_transaction or bool(node.lock))
        context = Context(self, statement.params)
        if node.lock:
            self._check_writable()
            return query.presented(await locking_rows(query, context, self)), 0
        return query.presented(query.rows(context)), 0

    async def _get_lock(self, node: Select, statement: Statement) -> int:
        context = Context(self, statement.params)
        name, seconds = (compiled(one, no_columns)(context) for one in node.outputs[0].expression.arguments)
        try:
            await acquire(self._server.named_lock(name), self, exclusive=True, timeout_seconds=seconds)
        except Exception as exc:
            if exc.args[:1] == (DEADLOCK,):
                raise
            return 0
        return 1

    async def _insert(self, node: Insert, statement: Statement) -> Result:
        if node.query is not None:
            for name in _tables_of(node.query):
                await self._use(name, keeps=True)
        await self._use_to_write(node.table)
        schema = self.table(node.table).schema
        row_params = len(statement.params) // statement.rows
        plan = _plan(node, schema, lambda: InsertPlan(node, schema, row_params))
        return None, await plan.run(self, statement.params, statement.rows)

    async def _update(self, node: Update, statement: Statement) -> Result:
        await self._use_to_write(node.table)
        schema = self.table(node.table).schema
        return None, await _plan(node, schema, lambda: UpdatePlan(node, schema)).run(self, statement.params)

    async def _delete(self, node: Delete, statement: Statement) -> Result:
        await self._use_to_write(node.table)
        schema = self.table(node.table).schema
        return None, await _plan(node, schema, lambda: DeletePlan(node, schema)).run(self, statement.params)

    async def _use_to_write(self, table: str) -> None:
        self._check_writable()
        await self._use(table, keeps=True)

    async def _use(self, name: str, keeps: bool) -> None:
        """Wait while somebody changes the table's definition. `keeps`: nobody may until the transaction has ended."""
        if self._locks_tables:
            return
        lock = self.table(name).lock
        if keeps:
            if self.transaction not in lock.holders:
                await acquire(lock, self.transaction, False, self._table_wait_seconds)
        elif not lock.is_free_for(self, False):
            await acquire(lock, self, False, self._table_wait_seconds)
            lock.release(self)

    @property
    def _table_wait_seconds(self) -> float:
        return float(self.variables.get("lock_wait_timeout", 86400))

    def _check_writable(self) -> None:
        if self._server.read_only:
            raise error(1290 if self.mariadb else 1836)

    async def _show(self, node: Show, statement: Statement) -> Result:
        if node.what == "CREATE TABLE":
            table = self.table(node.table)
            return [(table.name, self._server.information.definition_of(table))], 0
        values = self._server.variables if node.what == "VARIABLES" else {}
        rows = [(name, _shown(value)) for name, value in sorted(values.items())]
        columns = {"variable_name": 0, "value": 1}
        where = compiled(node.where, lambda table, name: columns[name.lower()])
        context, found = Context(self, statement.params), []
        for context.row in rows:
            if where(context):
                found.append(context.row)
        return found, 0

    async def _set(self, node: SetVariables, statement: Statement) -> Result:
        context = Context(self, statement.params)
        for name, expression in node.values:
            value = compiled(expression, no_columns)(context)
            self.variables[name] = value
            if name == "autocommit":
                self.autocommit = bool(value)
        return NO_ROWS

    async def _create(self, node: CreateTable, statement: Statement) -> Result:
        self.commit()
        self._check_writable()
        self._definitions.create(node, Context(self, statement.params))
        return NO_ROWS

    async def _command(self, node: Command, statement: Statement) -> Result:
        simple = _COMMANDS.get(node.name)
        if simple is not None:
            simple(self)
        elif node.name == "USE":
            if node.details[0] != self._server.database.name:
                raise error(1049, node.details[0])
        elif node.name == "PREPARE":
            name, expression = node.details
            self._prepared[name] = compiled(expression, no_columns)(Context(self, statement.params))
        elif node.name == "EXECUTE":
            return await self.execute(statements_of(self._prepared[node.details[0]].encode())[0]) or NO_ROWS
        elif node.name == "LOCK TABLES":
            self.commit()
            await acquire(self.table(node.details[0]).lock, self, True, self._table_wait_seconds)
            self._locks_tables = True
        elif node.name not in ("SET NAMES", "SET TRANSACTION", "DO", "DEALLOCATE"):
            await self._change(node, Context(self, statement.params))
        return NO_ROWS

    async def _change(self, node: Command, context: Context) -> None:
        """Change definitions, while nobody uses the tables."""
        self.commit()
        self._check_writable()
        taken: list[Lock] = []
        try:
            for name in _changed_tables(node):
                table = self._server.database.tables.get(name)
                if table is not None and not table.lock.has(self, exclusive=True):
                    await acquire(table.lock, self, True, self._table_wait_seconds)
                    taken.append(table.lock)
            self._definitions.run(node, context)
        finally:
            for lock in taken:
                lock.release(self)

    @property
    def _definitions(self) -> Definitions:
        database: Database = self._server.database
        return Definitions(database, self.mariadb)

    def begin(self) -> None:
        self.commit()
        self._began = True

    def unlock_tables(self) -> None:
        self._locks_tables = False
        for table in self._server.database.tables.values():
            if self in table.lock.holders:
                table.lock.release(self)


def _changed_tables(node: Command) -> list[str]:
    if node.name == "RENAME TABLE":
        return sorted({name for pair in node.details for name in pair})
    if node.name == "EXCHANGE":
        return sorted((node.details[0], node.details[2]))
    return [node.details[0]]


def _tables_of(select: Select) -> list[str]:
    found = [one.table for one in select.sources if one.table and not one.schema]
    for source in select.sources:
        if source.query is not None:
            found += _tables_of(source.query)
    for further in select.further:
        found += _tables_of(further)
    return found


def _shown(value: object) -> str:
    return {True: "ON", False: "OFF"}[value] if isinstance(value, bool) else str(value)


_plans: dict[Any, Any] = {}


def _plan(node: Node, schema: Any, make: Callable[[], Any]) -> Any:
    """The compiled statement. It is kept for the whole process, as all servers share their tables' definitions."""
    plan = _plans.get(node)
    if plan is None or plan.schema is not schema:
        plan = _plans[node] = make()
    return plan


_METHODS: dict[type, Any] = {
    Select: Session._select,
    Insert: Session._insert,
    Update: Session._update,
    Delete: Session._delete,
    Show: Session._show,
    SetVariables: Session._set,
    CreateTable: Session._create,
    Command: Session._command,
}
_COMMANDS: dict[str, Callable[[Session], None]] = {
    "BEGIN": Session.begin,
    "COMMIT": Session.commit,
    "ROLLBACK": Session.roll_back,
    "UNLOCK TABLES": Session.unlock_tables,
}

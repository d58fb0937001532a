"""Executes the statements of a session, each by its kind."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.mysql.errors import DEADLOCK, error
from tests.simulation.mysql.execution.locking import locking_rows
from tests.simulation.mysql.execution.reading import query_of
from tests.simulation.mysql.execution.writing import DeletePlan, InsertPlan, UpdatePlan
from tests.simulation.mysql.sql.context import Context, Row
from tests.simulation.mysql.sql.evaluation import compiled, without_columns
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
from tests.simulation.mysql.sql.shape import Statement, statements_of
from tests.simulation.mysql.storage.database import Database
from tests.simulation.mysql.storage.definitions import Definitions
from tests.simulation.mysql.storage.information import Information
from tests.simulation.mysql.storage.locks import Lock, acquire

if TYPE_CHECKING:
    from tests.simulation.mysql.session import Session

Result = tuple[list[Row] | None, int]
"""The rows, or None for a statement without a result, and the number of changed rows."""
NO_ROWS: Result = (None, 0)


async def of_select(session: "Session", node: Select, statement: Statement) -> Result:
    if len(node.outputs) == 1 and getattr(node.outputs[0].expression, "name", "") == "GET_LOCK":
        return [(await _get_lock(session, node, statement),)], 0
    query = query_of(node, session)
    for name in query.tables:
        await session.use(name, keeps=session.in_transaction or bool(node.lock))
    context = Context(session, statement.params)
    if query.is_of_definitions:
        information: Information = session.server.information
        return information.answer(query, statement.params, lambda: query.presented(query.rows(context))), 0
    if node.lock == "update":
        session.check_writable()
    if node.lock:
        return query.presented(await locking_rows(query, context, session)), 0
    return query.presented(query.rows(context)), 0


async def _get_lock(session: "Session", node: Select, statement: Statement) -> int:
    context = Context(session, statement.params)
    name, seconds = (without_columns(one)(context) for one in node.outputs[0].expression.arguments)
    try:
        await acquire(session.server.named_lock(name), session, exclusive=True, timeout_seconds=seconds)
    except Exception as exc:
        if exc.args[:1] == (DEADLOCK,):
            raise
        return 0
    return 1


async def of_insert(session: "Session", node: Insert, statement: Statement) -> Result:
    if node.query is not None:
        for name in query_of(node.query, session).tables:
            await session.use(name, keeps=True)
    await session.use_to_write(node.table)
    schema = session.table(node.table).schema
    row_params = len(statement.params) // statement.rows
    plan = _plan(node, schema, lambda: InsertPlan(node, schema, row_params))
    return None, await plan.run(session, statement.params, statement.rows)


async def of_update(session: "Session", node: Update, statement: Statement) -> Result:
    await session.use_to_write(node.table)
    schema = session.table(node.table).schema
    return None, await _plan(node, schema, lambda: UpdatePlan(node, schema)).run(session, statement.params)


async def of_delete(session: "Session", node: Delete, statement: Statement) -> Result:
    await session.use_to_write(node.table)
    schema = session.table(node.table).schema
    return None, await _plan(node, schema, lambda: DeletePlan(node, schema)).run(session, statement.params)


async def of_show(session: "Session", node: Show, statement: Statement) -> Result:
    if node.what == "CREATE TABLE":
        table = session.table(node.table)
        return [(table.name, session.server.information.definition_of(table))], 0
    values = session.server.variables if node.what == "VARIABLES" else {}
    rows = [(name, _shown(value)) for name, value in sorted(values.items())]
    where = _function(node, lambda: compiled(node.where, lambda table, name: _SHOWN[name.lower()]))
    context, found = Context(session, statement.params), []
    for context.row in rows:
        if where(context):
            found.append(context.row)
    return found, 0


async def of_set(session: "Session", node: SetVariables, statement: Statement) -> Result:
    context = Context(session, statement.params)
    for name, function in _function(node, lambda: [(one, without_columns(value)) for one, value in node.values]):
        value = function(context)
        session.variables[name] = value
        if name == "autocommit":
            session.autocommit = bool(value)
    return NO_ROWS


async def of_create(session: "Session", node: CreateTable, statement: Statement) -> Result:
    session.commit()
    session.check_writable()
    _definitions(session).create(node, Context(session, statement.params))
    return NO_ROWS


async def of_command(session: "Session", node: Command, statement: Statement) -> Result:
    simple = _COMMANDS.get(node.name)
    if simple is not None:
        simple(session)
    elif node.name == "USE":
        if node.details[0] != session.server.database.name:
            raise error(1049, node.details[0])
    elif node.name == "PREPARE":
        name, expression = node.details
        session.prepared[name] = without_columns(expression)(Context(session, statement.params))
    elif node.name == "EXECUTE":
        return await session.execute(statements_of(session.prepared[node.details[0]].encode())[0]) or NO_ROWS
    elif node.name == "LOCK TABLES":
        session.commit()
        await acquire(session.table(node.details[0]).lock, session, True, session.table_wait_seconds)
        session.locks_tables = True
    elif node.name not in ("SET NAMES", "SET TRANSACTION", "DO", "DEALLOCATE"):
        await _change(session, node, Context(session, statement.params))
    return NO_ROWS


async def _change(session: "Session", node: Command, context: Context) -> None:
    """Change definitions, while nobody uses the tables."""
    session.commit()
    session.check_writable()
    taken: list[Lock] = []
    try:
        for name in _changed_tables(node):
            table = session.server.database.tables.get(name)
            if table is not None and not table.lock.has(session, exclusive=True):
                await acquire(table.lock, session, True, session.table_wait_seconds)
                taken.append(table.lock)
        _definitions(session).run(node, context)
    finally:
        for lock in taken:
            lock.release(session)


def _definitions(session: "Session") -> Definitions:
    database: Database = session.server.database
    return Definitions(database, session.mariadb)


def _changed_tables(node: Command) -> list[str]:
    if node.name == "RENAME TABLE":
        return sorted({name for pair in node.details for name in pair})
    if node.name == "EXCHANGE":
        return sorted((node.details[0], node.details[2]))
    return [node.details[0]]


def _shown(value: object) -> str:
    return {True: "ON", False: "OFF"}[value] if isinstance(value, bool) else str(value)


_plans: dict[Any, Any] = {}


def _plan(node: Node, schema: Any, make: Callable[[], Any]) -> Any:
    """The compiled statement. It is kept for the whole process, as all servers share their tables' definitions."""
    plan = _plans.get(node)
    if plan is None or plan.schema is not schema:
        plan = _plans[node] = make()
    return plan


_functions: dict[Node, Any] = {}


def _function(node: Node, make: Callable[[], Any]) -> Any:
    """The compiled form of a statement that names no table."""
    function = _functions.get(node)
    if function is None:
        function = _functions[node] = make()
    return function


METHODS: dict[type, Any] = {
    Select: of_select,
    Insert: of_insert,
    Update: of_update,
    Delete: of_delete,
    Show: of_show,
    SetVariables: of_set,
    CreateTable: of_create,
    Command: of_command,
}
_SHOWN = {"variable_name": 0, "value": 1}
_COMMANDS: dict[str, Callable[["Session"], None]] = {
    "BEGIN": lambda session: session.begin(),
    "COMMIT": lambda session: session.commit_or_refuse(),
    "ROLLBACK": lambda session: session.roll_back(),
    "UNLOCK TABLES": lambda session: session.unlock_tables(),
}

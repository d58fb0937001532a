"""The model and the real server as one sees them from several sessions: answers, errors, and who waits for whom."""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import asyncmy.errors

from ingest.store.mysql.address import Address
from ingest.store.mysql.connection import SESSION, connect_over_network
from tests.contract.store.simulated import SimulatedMySQL
from tests.contract.store.stores import TIMEOUT_SECONDS, MySQL
from tests.simulation.mysql.connection import Connection as ModelConnection
from tests.simulation.mysql.server import Client, client_of

Answer = tuple[Any, ...]
"""The results of a query's statements: rows, the number of changed rows, or the number of an error."""

LONG_WAITS = b"SET SESSION innodb_lock_wait_timeout = 50, lock_wait_timeout = 50"
READ_VIEW = b"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;START TRANSACTION WITH CONSISTENT SNAPSHOT"
"""While it exists, InnoDB purges no deleted row. A purge at any moment would change who waits."""
POLL_SECONDS = 0.002
TURNS = 50
"""The model needs fewer turns of the event loop until every session has answered or waits."""
WAITING = re.compile(r"LOCK WAIT.*?thread id (\d+)", re.DOTALL)
WAITS = (
    b"SELECT processlist_id, requesting_engine_transaction_id, blocking_engine_transaction_id"
    b" FROM performance_schema.data_lock_waits JOIN performance_schema.threads ON thread_id = requesting_thread_id"
)
"""The thread of a lock is the one that asked for it, which may not be the one that has it. Transactions are exact."""


class Side(ABC):
    """`raws` are connections with asyncmy's methods."""

    def __init__(self, raws: Sequence[Any]) -> None:
        self._raws = raws
        self._running: dict[int, asyncio.Task[Answer]] = {}

    def start(self, session: int, sql: bytes) -> None:
        self._running[session] = asyncio.create_task(answer_of(self._raws[session], sql))

    async def settled(self) -> tuple[dict[int, Answer], frozenset[int]]:
        """The answers that have come, by session, and the sessions that wait for a lock."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while set(self._running) - (done := self._done()) - await self._waiting():  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
        answers = {session: self._running.pop(session).result() for session in sorted(done)}
        return answers, frozenset(self._running)

    def _done(self) -> set[int]:
        return {session for session, task in self._running.items() if task.done()}

    @abstractmethod
    async def _waiting(self) -> set[int]:
        """The sessions that wait for a lock now."""

    async def close(self) -> None:
        for raw in self._raws:
            raw.close()


class ModelSide(Side):
    def __init__(self, database: SimulatedMySQL, raws: Sequence[ModelConnection]) -> None:
        super().__init__(raws)
        self.database: Any = database

    async def _waiting(self) -> set[int]:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return {number for number, raw in enumerate(self._raws) if raw.session.is_waiting}


class RealSide(Side):
    """A server of its own kind says who waits; see `MariaDBSide` and `MySQLSide`."""

    def __init__(self, database: MySQL, raws: Sequence[Any], monitor: Any) -> None:
        super().__init__(raws)
        self.database: Any = database
        self._monitor = monitor
        self._numbers = {raw.thread_id(): number for number, raw in enumerate(raws)}
        """Session by the server's number of its connection."""

    async def _waiting(self) -> set[int]:
        return await self._blocked() if set(self._running) - self._done() else set()

    @abstractmethod
    async def _blocked(self) -> set[int]:
        """Ask the server which sessions wait."""

    async def close(self) -> None:
        await super().close()
        self._monitor.close()


class MariaDBSide(RealSide):
    """InnoDB's own status says who waits. information_schema may be older."""

    async def _blocked(self) -> set[int]:
        ((rows, _),) = await answer_of(self._monitor, b"SHOW ENGINE INNODB STATUS")
        found = (WAITING.search(part) for part in rows[0][2].split("---TRANSACTION")[1:])
        return {self._numbers.get(int(match[1]), -1) for match in found if match}


class MySQLSide(RealSide):
    """MySQL ends a deadlock some time later, in a thread. Until then nobody in the circle counts as waiting."""

    async def _blocked(self) -> set[int]:
        ((rows, _),) = await answer_of(self._monitor, WAITS)
        blockers: dict[int, set[int]] = {}
        for _, transaction, blocking in rows:
            blockers.setdefault(transaction, set()).add(blocking)
        free = {one for one in blockers if one not in _reached(blockers, one)}
        return {self._numbers.get(connection, -1) for connection, transaction, _ in rows if transaction in free}


def _reached(blockers: Mapping[int, set[int]], start: int) -> set[int]:
    """All transactions for which this one waits, also through others."""
    found: set[int] = set()
    left = [start]
    while left:
        new = blockers.get(left.pop(), set()) - found
        found |= new
        left.extend(new)
    return found


async def answer_of(raw: Any, sql: bytes) -> Answer:
    found: list[Any] = []
    try:
        async with raw.cursor() as cursor:
            await cursor.execute(sql)
            while True:
                rows = list(await cursor.fetchall()) if cursor.description else None
                found.append((rows, None if rows is not None else raw.affected_rows()))
                if not await cursor.nextset():
                    break
    except asyncmy.errors.MySQLError as exc:
        found.append(exc.args[0])
    return tuple(found)


async def model_side(autocommits: Sequence[bool], *, mariadb: bool) -> ModelSide:
    database = SimulatedMySQL(mariadb=mariadb)
    await database.migrate()
    client: Client = client_of(database.server)
    raws = [await client.connect(MODEL, TIMEOUT_SECONDS) for _ in autocommits]
    await _prepare(raws, b"ingest", autocommits)
    return ModelSide(database, raws)


async def real_side(database: MySQL, autocommits: Sequence[bool]) -> RealSide:
    address = Address.parse(database.url)
    raws = [await connect_over_network(address, TIMEOUT_SECONDS) for _ in autocommits]
    monitor = await connect_over_network(address, TIMEOUT_SECONDS)
    await answer_of(monitor, READ_VIEW)
    await _prepare(raws, database.name.encode(), autocommits)
    return (MariaDBSide if database.is_mariadb else MySQLSide)(database, raws, monitor)


class _Model:
    host = "simulated"


MODEL = _Model()


async def _prepare(raws: Sequence[Any], database: bytes, autocommits: Sequence[bool]) -> None:
    for raw, autocommit in zip(raws, autocommits, strict=True):
        answer = await answer_of(raw, SESSION % (database, autocommit))
        assert not isinstance(answer[-1], int), answer
        await answer_of(raw, LONG_WAITS)

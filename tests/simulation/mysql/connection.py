"""One connection to the server: what asyncmy's has, as far as the service uses it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncmy.errors

from tests.simulation.mysql.errors import LOST, error
from tests.simulation.mysql.execution.statements import Result
from tests.simulation.mysql.faults import END, ROLL_BACK, Fault, drawn_fault
from tests.simulation.mysql.session import Session
from tests.simulation.mysql.sql.context import Row
from tests.simulation.mysql.sql.shape import Statement, statements_of
from tests.simulation.mysql.work import Work, pause

if TYPE_CHECKING:
    from tests.simulation.mysql.server import Server

SHORT_SECONDS = 60
"""A `wait_timeout` up to this time ends idle connections. Longer ones are longer than a simulation."""


class Answer:
    """The results of a query's statements, and the error that ended it."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.error: Exception | None = None


class Connection:
    """The client's side and the server's. The server goes on with a query whose client has gone."""

    def __init__(self, server: "Server", connection_id: int) -> None:
        self._server = server
        self.session = Session(server, connection_id)
        self.is_open = True
        """The client's side."""
        self._waiting: asyncio.Future[Answer] | None = None
        self._serving: Work | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._affected_rows = 0
        self._is_silent = False
        """The query was executed or got lost, and no answer comes."""

    # The client's side

    def cursor(self) -> "Cursor":
        return Cursor(self)

    async def query(self, sql: bytes) -> Answer:
        if not self.is_open:
            raise asyncmy.errors.InterfaceError(0, "Not connected")
        if self._idle is not None:
            self._idle.cancel()
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        if self.session.has_ended:  # the server has closed the connection, which the client sees only now
            self.close()
            raise error(LOST)
        self._serving = Work(self._server.context, self._serve, sql)
        try:
            return await self._waiting
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiting = None

    def affected_rows(self) -> int:
        return self._affected_rows

    def note(self, result: Result) -> None:
        self._affected_rows = result[1]

    async def ensure_closed(self) -> None:
        self.close()

    def close(self) -> None:
        """The server ends the session once it has executed what it got."""
        self.is_open = False
        if self._serving is None:
            self._end()
        elif self._is_silent:
            self._serving.cancel()
            self._end()

    # The server's side

    def lose(self) -> None:
        """The connection breaks, and the server ends the session at once."""
        if self._serving is not None:
            self._serving.cancel()
        self._end()
        if self._waiting is not None and not self._waiting.done():
            self.is_open = False
            self._waiting.set_exception(error(LOST))

    def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._server.forget(self)
        self.session.end()

    async def _serve(self, sql: bytes) -> None:
        answer = Answer()
        try:
            await self._execute(statements_of(sql), answer)
        except asyncio.CancelledError:
            return
        except asyncmy.errors.MySQLError as exc:
            answer.error = exc
        except Exception as exc:
            self._server.defect = self._server.defect or exc
            answer.error = exc
        self._serving = None
        if not self.is_open:
            self._end()
            return
        if not self.session.has_ended:
            self._limit_idleness()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    async def _execute(self, statements: Sequence[Statement], answer: Answer) -> None:
        server = self._server
        fault = drawn_fault(server.chance, server.rates, len(statements))
        if fault is not None and fault.kind == "silent":
            await self._execute_silently(statements if fault.at else ())
        for number, statement in enumerate(statements):
            await self._pause()
            if fault is not None and fault.at == number:
                await self._meet(fault)
            if not self.is_open and number and self._notices_gone():
                return
            result = await self.session.execute(statement)
            if result is not None:
                answer.results.append(result)
        if fault is not None and fault.at >= len(statements):
            await self._meet(fault)
        if server.is_frozen:
            await server.thawed()

    async def _execute_silently(self, statements: Sequence[Statement]) -> None:
        """Execute them, or none if the query got lost, and wait until the client gives up."""
        with suppress(asyncmy.errors.MySQLError):
            for statement in statements:
                await self._pause()
                await self.session.execute(statement)
        self._is_silent = True
        if self.is_open:
            await asyncio.get_running_loop().create_future()
        self._end()
        raise asyncio.CancelledError

    async def _pause(self) -> None:
        server = self._server
        least, most = server.rates.statement_seconds
        if most:
            await pause(server.chance.seconds("mysql: time of a statement", least, most))
        if server.is_frozen:
            await server.thawed()

    def _notices_gone(self) -> bool:
        rates, chance = self._server.rates, self._server.chance
        return bool(rates.notices_gone) and chance.happens("mysql: a gone client is noticed", rates.notices_gone)

    async def _meet(self, fault: Fault) -> None:
        if fault.kind == "slow":
            await pause(fault.seconds)
        elif fault.kind == "lost":
            self._serving = None  # it ends itself
            self.lose()
            raise asyncio.CancelledError
        else:
            if fault.number in ROLL_BACK:
                self.session.roll_back()
            if fault.number in END:
                self._end()
            raise error(fault.number)

    def _limit_idleness(self) -> None:
        seconds = float(self.session.variables.get("wait_timeout", SHORT_SECONDS + 1))
        if seconds <= SHORT_SECONDS:
            self._idle = asyncio.get_running_loop().call_later(seconds, self.lose)


class Cursor:
    """Reads one result after another. The error comes in the place of its statement's result."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answer = Answer()
        self._at = 0
        self._rows: list[Row] = []
        self.description: object = None

    async def __aenter__(self) -> "Cursor":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def execute(self, sql: bytes) -> None:
        self._answer, self._at = await self._connection.query(sql), 0
        self._read()

    async def nextset(self) -> bool:
        self._at += 1
        if self._at >= len(self._answer.results) and self._answer.error is None:
            return False
        self._read()
        return True

    async def fetchall(self) -> list[Row]:
        return self._rows

    def _read(self) -> None:
        if self._at < len(self._answer.results):
            result = self._answer.results[self._at]
            self._connection.note(result)
            self._rows = result[0] or []
            self.description = None if result[0] is None else "rows"
        elif self._answer.error is not None:
            raise self._answer.error

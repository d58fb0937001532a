"""Connections to MySQL or MariaDB through asyncmy: session settings, statements, errors.

asyncmy waits for a frozen server without a limit, so every caller must set an `asyncio.timeout`. A connection that a
timeout cancelled is closed and never used again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncmy
import asyncmy.errors

from ingest.errors import BatchRefused, StoreError, StoreUnavailable
from ingest.store.mysql.address import Address
from ingest.store.mysql.errors import Duplicate, Retry, TooLarge, sentence, translate

Row = tuple[Any, ...]
Connect = Callable[[Address, float], Awaitable[Any]]
"""Return a connection with the methods of asyncmy's, within a timeout in seconds. Raises its errors, or OSError."""

SESSION = b"""SET SESSION sql_mode =
    'STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION';
SET SESSION completion_type = 0;
ROLLBACK;
USE %b;
SET NAMES utf8mb4 COLLATE utf8mb4_bin;
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
SET SESSION autocommit = %d, time_zone = '+00:00',
    innodb_lock_wait_timeout = 1, lock_wait_timeout = 5,
    wait_timeout = 28800, net_read_timeout = 30, net_write_timeout = 60,
    sql_select_limit = 18446744073709551615, sql_big_selects = 1, sql_safe_updates = 0, sql_auto_is_null = 0,
    foreign_key_checks = 1, unique_checks = 1, sql_quote_show_create = 1
    /*M! , check_constraint_checks = 1, max_statement_time = 0, old_mode = '' */
    /*!80000 , max_execution_time = 0, information_schema_stats_expiry = 0 */;
SHOW SESSION VARIABLES WHERE Variable_name IN ('max_allowed_packet', 'log_bin', 'binlog_format')"""
"""Sets all that the server's defaults and its `init_connect` must not decide. Values: the database, `autocommit`.

The waits for locks are short, so that a commit has time to try again. `sql_mode` comes first, because it decides how
the server reads the rest. `completion_type` comes next, because with another value ROLLBACK may end the connection.
ROLLBACK ends a transaction that `init_connect` began. `DEFAULT` would be the server's own value, and `@@binlog_format`
gives a warning on MySQL 9. Only MariaDB reads a comment that begins with `M!`, and only MySQL one with `!80000`.
"""
ROW_LOGGING = b"SET SESSION binlog_format = ROW"
STATEMENT_LOGGING = (
    "MySQL has binlog_format = STATEMENT: InnoDB then refuses the writes of READ COMMITTED transactions, and this "
    "user may not change it for its session. Set it to ROW or MIXED on the server."
)

PREPARE_BYTES_MAX = 4096
"""SESSION is shorter than this with every database name."""
END_SECONDS = 1.0


class Connection:
    """One session. After an error other than `Retry`, `Duplicate` or `BatchRefused` it must be closed."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.query_seconds_max: float | None = None
        """The longest wait for an answer, for a caller that sets no deadline of its own."""
        self._packet_bytes_max = PREPARE_BYTES_MAX  # until the server reports its own

    @classmethod
    async def open(
        cls, address: Address, connect_timeout_seconds: float, connect: Connect, *, autocommit: bool = True
    ) -> "Connection":
        """Connect and prepare the session within the timeout. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(connect_timeout_seconds):
                connection = cls(await connect(address, connect_timeout_seconds))
                await connection._prepare(address.database, autocommit)
                return connection
        except TimeoutError as exc:
            raise StoreUnavailable(f"MySQL did not answer within {connect_timeout_seconds:g} s.") from exc
        except StoreUnavailable:
            raise
        except StoreError as exc:
            raise StoreUnavailable(str(exc)) from exc
        except (asyncmy.errors.MySQLError, OSError, RuntimeError) as exc:
            raise StoreUnavailable(sentence(exc)) from exc

    async def _prepare(self, database: str, autocommit: bool) -> None:
        try:
            found: dict[str, str] = dict(await self.run(SESSION % (_name(database), autocommit)))
            if (found["log_bin"], found.get("binlog_format")) == ("ON", "STATEMENT"):
                await self._log_rows()
            self._packet_bytes_max = int(found["max_allowed_packet"])
        except BaseException:
            self.close()
            raise

    async def _log_rows(self) -> None:
        try:
            await self.run(ROW_LOGGING)
        except StoreError as exc:
            raise StoreUnavailable(STATEMENT_LOGGING) from exc

    async def run(self, sql: bytes, *, of_first: bool = False) -> list[Row]:
        """Execute one or several statements. Return the rows of the last result, or of the first. Raises `StoreError`.

        Execution stops at the first statement that fails, and its error is raised.
        """
        if len(sql) + 1 >= self._packet_bytes_max:  # with the command's byte; the packet must be below the limit
            # The server would close the connection, and its error message may be lost.
            raise TooLarge(len(sql), self._packet_bytes_max)
        try:
            if self.query_seconds_max is None:
                return await self._rows(sql, of_first)
            return await self._rows_in_time(sql, of_first, self.query_seconds_max)
        except asyncmy.errors.MySQLError as exc:
            raise translate(exc) from exc
        except (OSError, RuntimeError) as exc:
            raise StoreUnavailable(sentence(exc)) from exc

    async def _rows(self, sql: bytes, of_first: bool) -> list[Row]:
        async with self._raw.cursor() as cursor:
            await cursor.execute(sql)
            first = list(await cursor.fetchall()) if of_first and cursor.description else []
            while await cursor.nextset():
                pass
            return first if of_first else list(await cursor.fetchall()) if cursor.description else []

    async def _rows_in_time(self, sql: bytes, of_first: bool, seconds_max: float) -> list[Row]:
        try:
            async with asyncio.timeout(seconds_max) as limit:
                return await self._rows(sql, of_first)
        except TimeoutError as exc:
            if limit.expired():
                raise StoreUnavailable(f"MySQL did not answer within {seconds_max:g} s.") from exc
            raise

    async def change(self, sql: bytes) -> int:
        """Execute one statement. Return the number of rows that it changed. Raises `StoreError`."""
        await self.run(sql)
        return int(self._raw.affected_rows())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """BEGIN and COMMIT, or ROLLBACK after an error."""
        await self.run(b"BEGIN")
        try:
            yield
        except (Retry, Duplicate, BatchRefused):
            await self.run(b"ROLLBACK")
            raise
        await self.run(b"COMMIT")

    async def end(self) -> None:
        """Close properly. Otherwise the server logs an aborted connection."""
        with suppress(TimeoutError, OSError, asyncmy.errors.MySQLError):
            async with asyncio.timeout(END_SECONDS):
                await self._raw.ensure_closed()
        self.close()

    def close(self) -> None:
        """Close at once, in any state."""
        self._raw.close()


def _name(identifier: str) -> bytes:
    return b"`" + identifier.encode().replace(b"`", b"``") + b"`"


async def connect_over_network(address: Address, timeout_seconds: float) -> Any:
    """Implements `Connect`."""
    try:
        return await _connected(address, timeout_seconds)
    except asyncmy.errors.MySQLError:
        # asyncmy uses `asyncio.wait_for`, which before Python 3.12 lost a cancellation that came with an error.
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError from None
        raise


async def _connected(address: Address, timeout_seconds: float) -> Any:
    return await asyncmy.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password.encode(),  # asyncmy would encode a str as Latin-1
        database=address.database,
        charset="utf8mb4",
        autocommit=None,  # set by SESSION: the driver would not notice that `init_connect` changed it
        ssl=address.ssl_context(),
        connect_timeout=int(timeout_seconds) + 1,
    )

"""Connections to MySQL or MariaDB through asyncmy: session, statements, error map.

Every wait of asyncmy on a frozen server is without a limit, so callers hold an `asyncio.timeout`;
a connection that a timeout cancelled is closed, never used again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncmy
import asyncmy.errors

from ingest.errors import BatchRefused, StoreError, StoreUnavailable
from ingest.store.mysql.address import Address
from ingest.store.mysql.errors import Duplicate, Retry, TooLarge, sentence, translate

Row = tuple[Any, ...]

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
"""What neither the server's defaults nor its `init_connect` must decide: database, `autocommit`.

A lock is waited for so shortly that a commit can try again. `sql_mode` comes first: it says how the rest is read. Then
`completion_type`, as a ROLLBACK might end the connection; that ends what `init_connect` began, or set for one
transaction. `DEFAULT` would be the server's own value, and `@@binlog_format` a warning on MySQL 9. MariaDB alone reads
a comment that begins with `M!`, MySQL alone one that begins with `!80000`.
"""
ROW_LOGGING = b"SET SESSION binlog_format = ROW"
STATEMENT_LOGGING = (
    "MySQL has binlog_format = STATEMENT, with which InnoDB takes no writes of READ COMMITTED transactions, and this "
    "user may not change it for itself: set it to ROW or MIXED on the server."
)

PREPARE_BYTES_MAX = 4096
"""Longer than SESSION with any database's name."""
END_SECONDS = 1.0


class Connection:
    """One session. After any error but `Retry`, `Duplicate` or `BatchRefused` it must be closed."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._packet_bytes_max = PREPARE_BYTES_MAX  # the server tells its own then

    @classmethod
    async def open(cls, address: Address, connect_timeout_seconds: float, *, autocommit: bool = True) -> "Connection":
        """Connect and prepare the session, all within the timeout. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(connect_timeout_seconds):
                connection = cls(await _connect(address, connect_timeout_seconds))
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
        """Execute one or several statements; the rows of the last result, or of the first. Raises `StoreError`s.

        The first statement that fails ends it: its error is raised, and no later one was executed.
        """
        if len(sql) + 1 >= self._packet_bytes_max:  # with the command's byte; the server wants less than its limit
            # It would close the connection, and the answer that says why may be lost.
            raise TooLarge(len(sql), self._packet_bytes_max)
        try:
            async with self._raw.cursor() as cursor:
                await cursor.execute(sql)
                first = list(await cursor.fetchall()) if of_first and cursor.description else []
                while await cursor.nextset():
                    pass
                return first if of_first else list(await cursor.fetchall()) if cursor.description else []
        except asyncmy.errors.MySQLError as exc:
            raise translate(exc) from exc
        except (OSError, RuntimeError) as exc:
            raise StoreUnavailable(sentence(exc)) from exc

    async def change(self, sql: bytes) -> int:
        """Execute one statement; the number of rows that it changed. Raises `StoreError`s."""
        await self.run(sql)
        return int(self._raw.affected_rows())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """BEGIN … COMMIT, or ROLLBACK on an error."""
        await self.run(b"BEGIN")
        try:
            yield
        except (Retry, Duplicate, BatchRefused):
            await self.run(b"ROLLBACK")
            raise
        await self.run(b"COMMIT")

    async def end(self) -> None:
        """Close with a word to the server, which would log an aborted connection otherwise."""
        with suppress(TimeoutError, OSError, asyncmy.errors.MySQLError):
            async with asyncio.timeout(END_SECONDS):
                await self._raw.ensure_closed()
        self.close()

    def close(self) -> None:
        """Close at once, whatever state it is in."""
        self._raw.close()


def _name(identifier: str) -> bytes:
    return b"`" + identifier.encode().replace(b"`", b"``") + b"`"


async def _connect(address: Address, timeout_seconds: float) -> Any:
    try:
        return await _connected(address, timeout_seconds)
    except asyncmy.errors.MySQLError:
        # asyncmy waits by `asyncio.wait_for`, which until Python 3.12 lost a cancellation that came with an error.
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError from None
        raise


async def _connected(address: Address, timeout_seconds: float) -> Any:
    return await asyncmy.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password.encode(),  # of a str asyncmy would make Latin-1
        database=address.database,
        charset="utf8mb4",
        autocommit=None,  # see SESSION: the driver believes what it was told before `init_connect` ran
        ssl=address.ssl_context(),
        connect_timeout=int(timeout_seconds) + 1,
    )

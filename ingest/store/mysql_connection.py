"""Connections to MySQL or MariaDB through asyncmy: URL, session, error map, a bounded pool.

Every wait of asyncmy on a frozen server is without a limit, so callers hold an `asyncio.timeout`;
a connection that a timeout cancelled is closed, never used again.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import asyncmy
import asyncmy.errors
import msgspec

from ingest.errors import RowRefused, SettingsError, StoreError, StoreUnavailable
from ingest.links import UNHEARD, Link
from ingest.store.mysql_errors import Duplicate, Retry, sentence, translate

Row = tuple[Any, ...]

SESSION = b"""SET NAMES utf8mb4;
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 1, sql_mode =
    'STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION';
SELECT @@max_allowed_packet"""
"""What the server's defaults must not decide. A lock is waited for so shortly that a commit can try again."""

END_SECONDS = 1.0

SSL_MODES = ("DISABLED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")


class Address(msgspec.Struct, frozen=True):
    """Where the database is: `mysql://user:pass@host:3306/db?ssl-mode=VERIFY_CA&ssl-ca=/path`."""

    host: str
    port: int
    user: str
    password: str
    database: str
    ssl_mode: str
    ssl_ca: str | None

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises `SettingsError`. `ssl-mode` is one of MySQL's own: see `ssl_context`."""
        try:
            parts = urlsplit(url)
            port = parts.port or 3306
        except ValueError:  # not chained: its text may hold a piece of the password
            raise SettingsError(
                "INGEST_DATABASE_URL cannot be read: write / ? # @ : [ ] in user and password as %2F %3F and so on."
            ) from None
        database = unquote(parts.path.strip("/"))
        if not parts.hostname or not database:
            raise SettingsError("INGEST_DATABASE_URL needs a host and a database: mysql://user:pass@host:3306/db.")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname, port, user, password, database, *_ssl_options(parts.query))

    def ssl_context(self) -> ssl.SSLContext | None:
        """REQUIRED encrypts without verifying; VERIFY_CA checks the chain, VERIFY_IDENTITY the name too."""
        if self.ssl_mode == "DISABLED":
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca)
        except OSError as exc:
            raise StoreUnavailable(f"ssl-ca: {self.ssl_ca} has no certificate to verify with ({exc}).") from exc
        context.check_hostname = self.ssl_mode == "VERIFY_IDENTITY"
        if self.ssl_mode == "REQUIRED":
            context.verify_mode = ssl.CERT_NONE
        return context


def _ssl_options(query: str) -> tuple[str, str | None]:
    """`ssl_mode` and `ssl_ca` of a URL's query."""
    options = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    unknown = set(options) - {"ssl-mode", "ssl-ca"}
    if unknown:
        raise SettingsError(f"INGEST_DATABASE_URL: unknown option {', '.join(sorted(unknown))}.")
    ca = options.get("ssl-ca")
    mode = options.get("ssl-mode", "VERIFY_CA" if ca else "DISABLED").upper()
    if mode not in SSL_MODES:
        raise SettingsError(f"INGEST_DATABASE_URL: ssl-mode is one of {', '.join(SSL_MODES)}, as in MySQL.")
    return mode, ca


class Connection:
    """One session. After any error but `Retry`, `Duplicate` or `RowRefused` it must be closed."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._packet_bytes_max = len(SESSION) + 2  # the server tells its own then

    @classmethod
    async def open(cls, address: Address, connect_timeout_seconds: float, *, autocommit: bool = True) -> "Connection":
        """Connect and prepare the session, all within the timeout. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(connect_timeout_seconds):
                connection = cls(await _connect(address, connect_timeout_seconds, autocommit))
                await connection._prepare()
                return connection
        except TimeoutError as exc:
            raise StoreUnavailable(f"MySQL did not answer within {connect_timeout_seconds:g} s.") from exc
        except StoreUnavailable:
            raise
        except StoreError as exc:
            raise StoreUnavailable(str(exc)) from exc
        except (asyncmy.errors.MySQLError, OSError, RuntimeError) as exc:
            raise StoreUnavailable(sentence(exc)) from exc

    async def _prepare(self) -> None:
        try:
            self._packet_bytes_max = (await self.run(SESSION))[0][0]
        except BaseException:
            self.close()
            raise

    async def run(self, sql: bytes, *, of_first: bool = False) -> list[Row]:
        """Execute one or several statements; the rows of the last result, or of the first. Raises `StoreError`s.

        The first statement that fails ends it: its error is raised, and no later one was executed.
        """
        if len(sql) + 1 >= self._packet_bytes_max:  # with the command's byte; the server wants less than its limit
            # It would close the connection, and the answer that says why may be lost.
            raise RowRefused(f"A statement of {len(sql)} bytes is above max_allowed_packet, {self._packet_bytes_max}.")
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
        except (Retry, Duplicate, RowRefused):
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


async def _connect(address: Address, timeout_seconds: float, autocommit: bool) -> Any:
    try:
        return await _connected(address, timeout_seconds, autocommit)
    except asyncmy.errors.MySQLError:
        # asyncmy waits by `asyncio.wait_for`, which until Python 3.12 lost a cancellation that came with an error.
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError from None
        raise


async def _connected(address: Address, timeout_seconds: float, autocommit: bool) -> Any:
    return await asyncmy.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password.encode(),  # of a str asyncmy would make Latin-1
        database=address.database,
        charset="utf8mb4",
        autocommit=autocommit,
        ssl=address.ssl_context(),
        connect_timeout=int(timeout_seconds) + 1,
    )


class Pool:
    """At most `connections_max` connections; idle ones are kept, broken ones replaced at next use."""

    def __init__(
        self,
        address: Address,
        connections_max: int,
        connect_timeout_seconds: float,
        link: Link = UNHEARD,
        *,
        autocommit: bool,
    ) -> None:
        self._autocommit = autocommit
        self._link = link
        self._address = address
        self._connect_timeout_seconds = connect_timeout_seconds
        self._free = asyncio.Semaphore(connections_max)
        self._idle: list[Connection] = []
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of one's own; closed afterwards if its state is in doubt."""
        async with self._free:
            connection = self._idle.pop() if self._idle else await self._open()
            try:
                yield connection
            except (Retry, Duplicate, RowRefused):
                self._keep(connection)
                raise
            except BaseException as exc:
                connection.close()
                if isinstance(exc, StoreUnavailable):
                    self._close_idle()  # most likely lost as well: the next try must not fail on each in turn
                raise
            self._keep(connection)

    async def close(self) -> None:
        """Close the idle connections; those in use are closed after it."""
        self._closed = True
        while self._idle:
            await self._idle.pop().end()

    async def _open(self) -> Connection:
        connection = await Connection.open(self._address, self._connect_timeout_seconds, autocommit=self._autocommit)
        self._link.connected()
        return connection

    def _keep(self, connection: Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

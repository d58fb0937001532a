"""Connections to MySQL or MariaDB through asyncmy: URL, session, error map, a bounded pool.

Every wait of asyncmy on a frozen server is without a limit, so callers hold an `asyncio.timeout`;
a connection that a timeout cancelled is closed, never used again.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import asyncmy
import asyncmy.errors
import msgspec

from ingest.errors import RowRefused, SchemaError, SettingsError, StoreError, StoreUnavailable

Row = tuple[Any, ...]

SESSION = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION', "
    "time_zone = '+00:00', innodb_lock_wait_timeout = 2",
)

# Server error numbers, from the MySQL 8.4 and MariaDB 10.11 manuals.
RETRY = {1213, 1205, 1020}  # deadlock, lock wait timeout, record has changed
DUPLICATE = 1062
UNAVAILABLE = {
    *(1021, 1114, 1041, 1037),  # disk or table full, out of memory
    *(1040, 1203, 1226, 1053, 1077, 1927, 3169, 3024),  # connection limits, shutdown, killed
    *(1290, 1792, 1836, 3100, 1047),  # read-only; cluster node not ready
    *(1044, 1045, 1049, 1142, 1698, 3118, 1251),  # access: an operator can grant it
    *(1158, 1159, 1160, 1161, 1180, 1181),  # network, error during COMMIT
}
SCHEMA = {1146, 1054, 1136}
ROW = {
    *(1048, 1264, 1265, 1292, 1366, 1406, 1300),  # null, range, truncation, invalid string
    *(3140, 3141, 3143, 3144, 3150, 3157, 4025, 3819),  # invalid JSON, too deep; CHECK failed
    *(1105, 1153),  # a row alone larger than max_allowed_packet
}


class Retry(StoreError):
    """The transaction lost against another and was rolled back; the same again may succeed."""

    code = "store_retry"


class Duplicate(StoreError):
    """A row with this key exists."""

    code = "store_duplicate"


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
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        database = unquote(parts.path.strip("/"))
        if not parts.hostname or not database:
            raise SettingsError("INGEST_DATABASE_URL needs a host and a database: mysql://user:pass@host:3306/db.")
        unknown = set(options) - {"ssl-mode", "ssl-ca"}
        if unknown:
            raise SettingsError(f"INGEST_DATABASE_URL: unknown option {', '.join(sorted(unknown))}.")
        mode = options.get("ssl-mode", "DISABLED").upper()
        if mode not in ("DISABLED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"):
            raise SettingsError(
                "INGEST_DATABASE_URL: ssl-mode is DISABLED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY, as in MySQL."
            )
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname, parts.port or 3306, user, password, database, mode, options.get("ssl-ca"))

    def ssl_context(self) -> ssl.SSLContext | None:
        """REQUIRED encrypts without verifying; VERIFY_CA checks the chain, VERIFY_IDENTITY the name too."""
        if self.ssl_mode == "DISABLED":
            return None
        context = ssl.create_default_context(cafile=self.ssl_ca)
        context.check_hostname = self.ssl_mode == "VERIFY_IDENTITY"
        if self.ssl_mode == "REQUIRED":
            context.verify_mode = ssl.CERT_NONE
        return context


class Connection:
    """One session. After any error but `Retry`, `Duplicate` or `RowRefused` it must be closed."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    @classmethod
    async def open(cls, address: Address, connect_timeout_seconds: float, *, autocommit: bool = True) -> "Connection":
        """Connect and prepare the session, all within the timeout. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(connect_timeout_seconds):
                raw = await asyncmy.connect(
                    host=address.host,
                    port=address.port,
                    user=address.user,
                    password=address.password,
                    database=address.database,
                    charset="utf8mb4",
                    autocommit=autocommit,
                    ssl=address.ssl_context(),
                    connect_timeout=int(connect_timeout_seconds) + 1,
                )
                connection = cls(raw)
                for statement in SESSION:
                    await connection.run(statement.encode())
                return connection
        except TimeoutError as exc:
            raise StoreUnavailable(f"MySQL did not answer within {connect_timeout_seconds:g} s.") from exc
        except StoreError as exc:
            raise StoreUnavailable(str(exc)) from exc
        except (asyncmy.errors.MySQLError, OSError) as exc:
            raise StoreUnavailable(_text(exc)) from exc

    async def run(self, sql: bytes) -> list[Row]:
        """Execute one or several statements; the rows of the last result set. Raises `StoreError`s."""
        try:
            async with self._raw.cursor() as cursor:
                await cursor.execute(sql)
                while await cursor.nextset():
                    pass
                return list(await cursor.fetchall()) if cursor.description else []
        except asyncmy.errors.MySQLError as exc:
            raise translate(exc) from exc
        except (OSError, RuntimeError) as exc:
            raise StoreUnavailable(_text(exc)) from exc

    async def change(self, sql: bytes) -> int:
        """Execute one statement; the number of rows that it changed. Raises `StoreError`s."""
        await self.run(sql)
        return int(self._raw.affected_rows)

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

    def close(self) -> None:
        self._raw.close()


def translate(exc: Exception) -> StoreError:
    """The driver's exception as one of ours, by the server's error number."""
    number = exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0
    text = _text(exc)
    if number in RETRY:
        return Retry(text)
    if number == DUPLICATE:
        return Duplicate(text)
    if number in ROW:
        return RowRefused(text)
    if number in SCHEMA:
        return SchemaError(f"{text} Run `ingest migrate`.")
    if number in UNAVAILABLE or number == 0 or 2000 <= number < 3000:
        return StoreUnavailable(text)
    return StoreError(text)


def _text(exc: BaseException) -> str:
    """A sentence for people. Server messages may quote a row's content, so they are cut short."""
    if len(exc.args) > 1 and isinstance(exc.args[0], int):
        return f"MySQL error {exc.args[0]}: {str(exc.args[1])[:120]}."
    return f"MySQL: {str(exc)[:160] or type(exc).__name__}."


class Pool:
    """At most `connections_max` connections; idle ones are kept, broken ones replaced at next use."""

    def __init__(
        self, address: Address, connections_max: int, connect_timeout_seconds: float, *, autocommit: bool
    ) -> None:
        self._autocommit = autocommit
        self._address = address
        self._connect_timeout_seconds = connect_timeout_seconds
        self._free = asyncio.Semaphore(connections_max)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of one's own; closed afterwards if its state is in doubt."""
        async with self._free:
            connection = self._idle.pop() if self._idle else await self._open()
            try:
                yield connection
            except (Retry, Duplicate, RowRefused):
                self._idle.append(connection)
                raise
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)

    async def _open(self) -> Connection:
        return await Connection.open(self._address, self._connect_timeout_seconds, autocommit=self._autocommit)

    def close(self) -> None:
        """Close the idle connections; those in use are closed by who holds them."""
        while self._idle:
            self._idle.pop().close()

"""SQLite on its own thread, because it blocks. Each commit is durable."""

import asyncio
import errno
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
Connect = Callable[[Path, float], sqlite3.Connection]


def connect(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    """Connect with durable commits and a limited wait for other writers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=timeout_seconds, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_read_only(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    """Connect for reading only, without creating a file. Raises `FileNotFoundError` if there is no database."""
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "there is no database file", str(path))
    # If there is no WAL file, no process has the database open. SQLite would then create a WAL file in order to read.
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    uri = f"{path.resolve().as_uri()}?{mode}"
    return sqlite3.connect(uri, timeout=timeout_seconds, isolation_level=None, check_same_thread=False, uri=True)


def file_of(url: str) -> Path | None:
    """Return the path in `sqlite:///relative.db` or `sqlite:////absolute.db`; None for other databases.

    SQLAlchemy writes these URLs in the same way.
    """
    return Path(urlsplit(url).path[1:]) if url.startswith("sqlite:") else None


def transact(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Do the work in one transaction. Roll it back if the work fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
        return result
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class Database:
    """One connection, which the first call opens; if that fails, the next call tries again. Calls run in order.

    All methods raise `sqlite3.Error` and `OSError`. `prepare` receives each new connection.
    """

    def __init__(
        self,
        path: Path,
        timeout_seconds: float,
        prepare: Callable[[sqlite3.Connection], object] = lambda _: None,
        connect: Connect = connect,
    ) -> None:
        self.path = path
        self._timeout_seconds = timeout_seconds
        self._prepare = prepare
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, f"sqlite-{path.stem}")
        self._closed = False

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._in_thread(lambda: work(self._opened()))

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self.run(lambda connection: transact(connection, work))

    async def reopen(self, meanwhile: Callable[[], object]) -> None:
        """Close the connection, and call `meanwhile`. The next call opens a new connection."""

        def between() -> None:
            self._close()
            meanwhile()

        await self._in_thread(between)

    async def close(self) -> None:
        """Close the connection. Safe to call twice. No other call may follow."""
        if not self._closed:
            await self._in_thread(self._close)
            self._closed = True
            self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise sqlite3.ProgrammingError(f"{self.path.name} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._connect(self.path, self._timeout_seconds)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

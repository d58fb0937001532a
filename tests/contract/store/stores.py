"""The databases of the stores' contract: a store on each, and what another client sees."""

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql

from ingest.clock import unix_us
from ingest.store.base import Store
from ingest.store.mysql import migrate
from ingest.store.mysql.address import Address
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.store import MySQLStore
from ingest.store.sqlite import store
from ingest.store.sqlite.store import SQLiteStore
from tests.services import MySQLServer
from tests.services.mysql import NO_TLS

Row = tuple[Any, ...]

TIMEOUT_SECONDS = 30.0
ROWS = "SELECT id, call_id, event_type, payload, created_time FROM call_event_logs ORDER BY id"
ENTRIES = "SELECT first_id, count, attempts FROM ingest_outbox ORDER BY first_id"


class Database(ABC):
    """An empty database of the test's own."""

    @abstractmethod
    def store(self) -> Store:
        """Another store on this database, not started."""

    @abstractmethod
    async def migrate(self) -> None: ...

    @abstractmethod
    def query(self, sql: str) -> list[Row]:
        """Run one statement, committed, over a connection of its own."""

    @abstractmethod
    def expire(self, table: str) -> None:
        """Let the leases in `ingest_outbox` or `ingest_slots` run out, their order kept."""

    @abstractmethod
    def same_payload(self, stored: str, received: bytes) -> bool:
        """True if the column holds the received payload: byte for byte, if the database keeps bytes."""

    def rows(self) -> list[Row]:
        """id, call_id, event_type, payload, created_time as text."""
        return [(*row[:4], str(row[4])) for row in self.query(ROWS)]

    def call_ids(self) -> list[str]:
        return [row[1] for row in self.rows()]

    def entries(self) -> list[Row]:
        """Outbox entries: first id, count of events, how often claimed."""
        return self.query(ENTRIES)


class SQLite(Database):
    def __init__(self, folder: Path) -> None:
        self.path = folder / "events.db"

    def store(self) -> SQLiteStore:
        return SQLiteStore(self.path, TIMEOUT_SECONDS, unix_us)

    async def migrate(self) -> None:
        store.migrate(self.path)

    def query(self, sql: str) -> list[Row]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()

    def expire(self, table: str) -> None:
        self.query(f"UPDATE {table} SET lease_until = lease_until - 1000000000")

    def same_payload(self, stored: str, received: bytes) -> bool:
        return stored.encode() == received


class MySQL(Database):
    def __init__(self, server: MySQLServer, url: str | None = None) -> None:
        self.server = server
        self.url = url or server.fresh_database()
        self.name = urlsplit(self.url).path[1:]

    def store(
        self, url: str | None = None, commit_timeout_seconds: float = TIMEOUT_SECONDS, connections_max: int = 2
    ) -> MySQLStore:
        return MySQLStore(
            self.servers(url),
            connections_max=connections_max,
            connect_timeout_seconds=TIMEOUT_SECONDS,
            commit_timeout_seconds=commit_timeout_seconds,
            now_us=unix_us,
        )

    def servers(self, url: str | None = None) -> Servers:
        return Servers.parse(url or self.url)

    async def migrate(self) -> None:
        await migrate.migrate(self.servers(), TIMEOUT_SECONDS)

    def query(self, sql: str) -> list[Row]:
        return self.server.query(sql, self.name)

    def session(self, url: str | None = None) -> "pymysql.Connection[Any]":
        """Another client's connection, without autocommit."""
        address = Address.parse(url or self.url)
        return pymysql.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            database=self.name,
            read_timeout=TIMEOUT_SECONDS,
            ssl_disabled=NO_TLS,
        )

    def expire(self, table: str) -> None:
        self.query(f"UPDATE {table} SET lease_until = lease_until - INTERVAL 10 DAY")

    def same_payload(self, stored: str, received: bytes) -> bool:
        if self.is_mariadb:
            return stored.encode() == received
        return bool(json.loads(stored) == json.loads(received))  # the database has its own JSON type

    @property
    def is_mariadb(self) -> bool:
        return "MariaDB" in self.query("SELECT VERSION()")[0][0]


@asynccontextmanager
async def opened(*stores: Store) -> AsyncIterator[Sequence[Store]]:
    """The stores, started, until the block ends."""
    async with AsyncExitStack() as stack:
        for store in stores:
            await store.start()
            stack.push_async_callback(store.close)
        yield stores

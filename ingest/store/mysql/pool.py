"""A bounded pool of connections to one of several MySQL or MariaDB servers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ingest.errors import BatchRefused, StoreUnavailable
from ingest.failover import FailoverHosts, each_host
from ingest.store.mysql.address import Address
from ingest.store.mysql.connection import Connect, Connection, connect_over_network
from ingest.store.mysql.errors import Duplicate, Retry
from ingest.telemetry.connection_metrics import NO_OBSERVER, ConnectionObserver

READ_ONLY = b"SELECT @@global.read_only"
IN_GALERA = b"SHOW GLOBAL VARIABLES WHERE Variable_name = 'wsrep_on' AND Value = 'ON'"
NOT_READY = b"SHOW GLOBAL STATUS WHERE Variable_name = 'wsrep_ready' AND Value <> 'ON'"
"""Returns a row if the node is cut off from most others, or has not joined them yet."""
WAIT_FOR_OTHERS = b"SET SESSION wsrep_sync_wait = 3"
"""The node waits before SELECT (1), and before UPDATE and DELETE (2)."""


class Servers:
    """All servers of a URL. The first one that accepts writes gets the connections.

    With `current_reads` a node of a Galera cluster answers a read only after it has applied all earlier commits of the
    other nodes. Otherwise a node that replaces a dead one may not have applied all commits that it has received.
    """

    def __init__(
        self, addresses: Sequence[Address], *, current_reads: bool = False, connect: Connect = connect_over_network
    ) -> None:
        self._rota = FailoverHosts(addresses)
        self._current_reads = current_reads
        self._connect = connect

    @classmethod
    def parse(cls, url: str, *, current_reads: bool = False, connect: Connect = connect_over_network) -> "Servers":
        """Raises `SettingsError`."""
        return cls([Address.parse(one) for one in each_host(url)], current_reads=current_reads, connect=connect)

    async def connect(self, timeout_seconds: float, *, autocommit: bool = True) -> Connection:
        """Connect to the first server that accepts writes. The timeout applies to each. Raises `StoreUnavailable`."""
        return await self._rota.connected(lambda address: self._open(address, timeout_seconds, autocommit))

    async def _open(self, address: Address, timeout_seconds: float, autocommit: bool) -> Connection:
        connection = await Connection.open(address, timeout_seconds, self._connect, autocommit=autocommit)
        if len(self._rota) > 1 or self._current_reads:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._prepare(connection, address)
            except BaseException as exc:
                connection.close()
                if isinstance(exc, TimeoutError):
                    raise StoreUnavailable(f"MySQL did not answer within {timeout_seconds:g} s.") from exc
                raise
        return connection

    async def _prepare(self, connection: Connection, address: Address) -> None:
        """Raises `StoreUnavailable` if this server accepts no writes now, so that the next server is tried."""
        if (await connection.run(READ_ONLY))[0][0]:
            raise StoreUnavailable(f"{address.host}:{address.port} is read-only.")
        if await connection.run(IN_GALERA):
            if await connection.run(NOT_READY):
                raise StoreUnavailable(f"{address.host}:{address.port} is not ready in its Galera cluster.")
            if self._current_reads:
                await connection.run(WAIT_FOR_OTHERS)


class Pool:
    """Has at most `connections_max` connections. It keeps idle ones, and replaces broken ones at their next use."""

    def __init__(
        self,
        servers: Servers,
        connections_max: int,
        connect_timeout_seconds: float,
        observer: ConnectionObserver = NO_OBSERVER,
        *,
        autocommit: bool,
    ) -> None:
        self._autocommit = autocommit
        self._observer = observer
        self._servers = servers
        self._connect_timeout_seconds = connect_timeout_seconds
        self._free = asyncio.Semaphore(connections_max)
        self._idle: list[Connection] = []
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection to one caller. An error that leaves its state unknown closes it."""
        async with self._free:
            connection = self._idle.pop() if self._idle else await self._open()
            try:
                yield connection
            except (Retry, Duplicate, BatchRefused):
                self._keep(connection)
                raise
            except BaseException as exc:
                connection.close()
                if isinstance(exc, StoreUnavailable):
                    self._close_idle()  # most likely lost too: otherwise the next tries would fail on each of them
                raise
            self._keep(connection)

    async def close(self) -> None:
        """Close the idle connections. Those in use are closed when they come back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().end()

    async def _open(self) -> Connection:
        connection = await self._servers.connect(self._connect_timeout_seconds, autocommit=self._autocommit)
        self._observer.connected()
        return connection

    def _keep(self, connection: Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

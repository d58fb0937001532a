"""The server, and what may happen to it as a whole. The simulation's world calls these actions."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from tests.simulation.chance import Chance
from tests.simulation.mysql.connection import Connection
from tests.simulation.mysql.errors import error
from tests.simulation.mysql.faults import NO_FAULTS, FaultRates
from tests.simulation.mysql.storage.database import Database
from tests.simulation.mysql.storage.information import Information
from tests.simulation.mysql.storage.locks import Lock

MAX_ALLOWED_PACKET = 16 << 20


class Server:
    """Listens at one address, or is the current primary behind it."""

    def __init__(
        self,
        database: Database,
        now_us: Callable[[], int],
        chance: Chance,
        rates: FaultRates = NO_FAULTS,
        *,
        mariadb: bool = True,
        connections_max: int = 151,
    ) -> None:
        self.database = database
        self.now_us = now_us
        self.chance = chance
        self.rates = rates
        """May be replaced at any time."""
        self.context = copy_context()
        """The server's own tasks run in it, so that they do not belong to a client's simulated process."""
        self.mariadb = mariadb
        self.information = Information(database, mariadb)
        self.connections_max = connections_max
        self.read_only = False
        self.refuses_writes = 0
        """The number of the error with which it refuses each write; 0 if it takes them."""
        self.defect: Exception | None = None
        """The first error that is no error of MySQL: the model does not know some SQL, or is wrong."""
        self._is_up = True
        self._frozen: asyncio.Future[None] | None = None
        self._connections: dict[Connection, None] = {}
        self._named_locks: dict[str, Lock] = {}
        self._last_id = 0

    @property
    def variables(self) -> dict[str, Any]:
        """Those that the service asks for."""
        return {
            "max_allowed_packet": MAX_ALLOWED_PACKET,
            "log_bin": False,
            "binlog_format": "MIXED" if self.mariadb else "ROW",
            "read_only": int(self.read_only),
        }

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def connect(self) -> Connection:
        """Raises the driver's error."""
        if not self._is_up:
            raise error(2003, "mysql")
        least, most = self.rates.connect_seconds
        if most:
            await asyncio.sleep(self.chance.seconds("mysql: time to connect", least, most))
        await self.thawed()
        if not self._is_up or (
            self.rates.connect and self.chance.happens("mysql: a connection is refused", self.rates.connect)
        ):
            raise error(2003, "mysql")
        if len(self._connections) >= self.connections_max:
            raise error(1040)
        self._last_id += 1
        connection = Connection(self, self._last_id)
        self._connections[connection] = None
        return connection

    # Actions

    def crash(self) -> None:
        """End all connections, and refuse new ones until `start`. Nothing that was committed is lost."""
        self._is_up = False
        self.thaw()
        self.break_connections()
        self._named_locks.clear()

    def start(self) -> None:
        self._is_up = True

    def restart(self) -> None:
        self.crash()
        self.start()

    def fail_over(self, commits_lost: int) -> int:
        """A replica takes over at the same address, without the newest commits. Return how many it has lost."""
        self.restart()
        return self.database.lose_commits(commits_lost)

    def break_connections(self) -> None:
        for connection in list(self._connections):
            connection.lose()

    def freeze(self) -> None:
        """Stop answering until `thaw`, like a stopped process. Queries wait, and are executed then."""
        if self._frozen is None:
            self._frozen = asyncio.get_running_loop().create_future()

    def thaw(self) -> None:
        frozen, self._frozen = self._frozen, None
        if frozen is not None and not frozen.done():
            frozen.set_result(None)

    # Sessions and connections call what follows

    @property
    def is_frozen(self) -> bool:
        return self._frozen is not None

    async def thawed(self) -> None:
        while self._frozen is not None:
            await asyncio.shield(self._frozen)

    def forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    def named_lock(self, name: str) -> Lock:
        return self._named_locks.setdefault(name, Lock(name))

    def owner_of(self, name: str) -> int | None:
        lock = self._named_locks.get(name)
        holder: Any = next(iter(lock.holders), None) if lock else None
        return holder.connection_id if holder is not None else None


class Client:
    """The connections of one process, which all end with it."""

    def __init__(self, server_of: Callable[[str], Server]) -> None:
        """`server_of` finds a server by the host in the URL."""
        self._server_of = server_of
        self._connections: list[Connection] = []

    async def connect(self, address: Any, timeout_seconds: float) -> Connection:
        """Implements `ingest.store.mysql.connection.Connect`."""
        connection = await self._server_of(address.host).connect()
        self._connections = [one for one in self._connections if one.is_open]
        self._connections.append(connection)
        return connection

    def end(self) -> None:
        """The process was killed, so the kernel closes its connections."""
        for connection in self._connections:
            connection.close()
        self._connections = []


def client_of(server: Server) -> Client:
    return Client(lambda host: server)

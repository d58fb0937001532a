"""The simulation's model of MySQL, held to the contract of the real servers."""

from ingest.clock import unix_us
from ingest.store.mysql import migrate
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.store import MySQLStore
from tests.contract.store.stores import TIMEOUT_SECONDS, Database, Row
from tests.simulation.chance import SeededChance
from tests.simulation.mysql.databases import empty_database, execute
from tests.simulation.mysql.server import Server, client_of

URL = "mysql://ingest@simulated/ingest"


class SimulatedMySQL(Database):
    def __init__(self, *, mariadb: bool = True) -> None:
        self.server = Server(empty_database(), unix_us, SeededChance(0), mariadb=mariadb)

    def servers(self) -> Servers:
        return Servers.parse(URL, connect=client_of(self.server).connect)

    def store(self, commit_timeout_seconds: float = TIMEOUT_SECONDS, connections_max: int = 2) -> MySQLStore:
        return MySQLStore(
            self.servers(),
            connections_max=connections_max,
            connect_timeout_seconds=TIMEOUT_SECONDS,
            commit_timeout_seconds=commit_timeout_seconds,
            now_us=unix_us,
        )

    async def migrate(self) -> None:
        await migrate.migrate(self.servers(), TIMEOUT_SECONDS)

    def query(self, sql: str) -> list[Row]:
        return execute(self.server, sql.encode())

    def expire(self, table: str) -> None:
        self.query(f"UPDATE {table} SET lease_until = lease_until - INTERVAL 10 DAY")

    def same_payload(self, stored: str, received: bytes) -> bool:
        return stored.encode() == received

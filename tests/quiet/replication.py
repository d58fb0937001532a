"""A MariaDB primary with a replica, and the planned failover from one to the other."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pymysql

from tests.services import MySQLServer, wait_until
from tests.services.mysql import PASSWORD, USER, MariaDB

SECONDS = 30.0
SERVICE, SECRET = "service", "password-of-the-service"
EXISTS_ALREADY = 1396
"""The error of CREATE USER for a user that the replica has already."""


class Pair:
    """The service's user has no rights beyond its database, so `read_only` applies to it."""

    def __init__(self, primary: MySQLServer, replica: MySQLServer) -> None:
        self.primary = primary
        self.replica = replica

    def replicate(self) -> None:
        self.replica.query(
            f"CHANGE MASTER TO MASTER_HOST='{self.primary.host}', MASTER_PORT={self.primary.port}, "
            f"MASTER_USER='{USER}', MASTER_PASSWORD='{PASSWORD}', MASTER_USE_GTID=no"
        )
        self.replica.query("START SLAVE")

    def fresh_url(self) -> str:
        """Create a database for the service. The URL names the primary first, then the replica."""
        url = self.primary.fresh_database()
        database = url.rpartition("/")[2]
        self.primary.query(f"CREATE USER '{SERVICE}'@'%' IDENTIFIED BY '{SECRET}'")
        self.primary.query(f"GRANT ALL ON {database}.* TO '{SERVICE}'@'%'")
        self._wait_for_replica()
        hosts = ",".join(f"{server.host}:{server.port}" for server in (self.primary, self.replica))
        return f"mysql://{SERVICE}:{SECRET}@{hosts}/{database}"

    def fail_over(self) -> None:
        """Stop the writes, let the replica apply them all, promote it, and stop the old primary for maintenance."""
        self.primary.query("SET GLOBAL read_only = 1")
        self._wait_for_replica()
        self.replica.query("STOP SLAVE")
        self.replica.query("RESET SLAVE ALL")
        self.replica.query("SET GLOBAL read_only = 0")
        self.primary.stop()

    def _wait_for_replica(self) -> None:
        ((file, position, *_),) = self.primary.query("SHOW MASTER STATUS")

        def applied() -> bool:
            waited = self.replica.query(f"SELECT MASTER_POS_WAIT('{file}', {position}, 1)")
            return waited[0][0] is not None and waited[0][0] >= 0

        assert wait_until(applied, SECONDS), self._replica_status()

    def _replica_status(self) -> object:
        try:
            return self.replica.query("SHOW SLAVE STATUS")
        except pymysql.MySQLError as exc:
            return exc


@contextmanager
def replicated() -> Iterator[Pair]:
    with ExitStack() as stack:
        options = ["--log-bin", "--binlog-format=ROW"]
        primary = stack.enter_context(MariaDB(options=[*options, "--server-id=1"]))
        further = ["--server-id=2", "--read-only=1", f"--slave-skip-errors={EXISTS_ALREADY}"]
        pair = Pair(primary, stack.enter_context(MariaDB(options=[*options, *further])))
        pair.replicate()
        yield pair

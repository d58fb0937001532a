"""Prometheus's exporter for MySQL, for tests."""

import subprocess
import urllib.request

from .mysql import MySQLServer
from .places import Host
from .ports import free_port
from .server import PrivateServer

ANSWER_SECONDS = 5.0


class MysqldExporter(PrivateServer):
    """This machine's prometheus-mysqld-exporter, with its own user of the given server."""

    def __init__(self, mysql: MySQLServer) -> None:
        super().__init__("prometheus-mysqld-exporter", Host())
        self.port = free_port()
        user, password = mysql.fresh_user()
        mysql.query(f"GRANT PROCESS, REPLICATION CLIENT ON *.* TO '{user}'@'%'")
        self._source = f"{user}:{password}@({mysql.host}:{mysql.port})/"

    def _prepare(self) -> None:
        pass

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [
            self._place.find("usr/bin/prometheus-mysqld-exporter"),
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        return self.sandbox.spawn(self._argv(*command), self.log, {"DATA_SOURCE_NAME": self._source})

    def _answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}/metrics", timeout=ANSWER_SECONDS) as reply:
                return b"mysql_up 1" in reply.read()
        except OSError:
            return False

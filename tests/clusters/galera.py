"""A Galera cluster of three MariaDB nodes."""

import re
import shutil
import subprocess
from collections.abc import Sequence

import pymysql

from tests.clusters.network import Node
from tests.services.mysql import MariaDB, user_option
from tests.services.sandbox import ServerFailed

PROVIDER = "usr/lib/galera/libgalera_smm.so"
RECOVERED = re.compile(r"Recovered position:\s*(\S+)")
RECOVER_SECONDS = 60.0


class GaleraNode(MariaDB):
    """The node with the first of `addresses` creates the cluster at its first start. The others copy its data."""

    def __init__(self, node: Node, addresses: Sequence[str]) -> None:
        super().__init__(node)
        self.node = node
        self.host = node.address
        self.port = 3306
        self._addresses = addresses
        self._makes_cluster = addresses[0] == node.address
        self._has_user = not self._makes_cluster
        self._position = ""
        self._was_started = False

    @property
    def is_synced(self) -> bool:
        """Return True if all three nodes are connected, and this node has the data of the others."""
        try:
            rows = self.query("SHOW GLOBAL STATUS LIKE 'wsrep\\_%'")
        except (OSError, pymysql.MySQLError):
            return False
        wanted = {
            "wsrep_cluster_status": "Primary",
            "wsrep_cluster_size": str(len(self._addresses)),
            "wsrep_local_state_comment": "Synced",
            "wsrep_ready": "ON",
        }
        return set(wanted.items()) <= set(rows)

    def _prepare(self) -> None:
        if self._makes_cluster:
            super()._prepare()
            return
        self.sandbox.folder("tmp")
        self.sandbox.folder("data")

    @property
    def is_ready(self) -> bool:
        """Return True if the node accepts statements, which needs a majority of nodes."""
        return self.query("SHOW GLOBAL STATUS LIKE 'wsrep\\_ready'") == [("wsrep_ready", "ON")]

    def _answers(self) -> bool:
        return super()._answers() and self.is_ready

    def _launch(self) -> subprocess.Popen[bytes]:
        if self._was_started:
            self._position = ""
            self._position = self._recovered_position()
        if not self._makes_cluster:
            self._let_rsync_in()
        process = super()._launch()
        self._makes_cluster, self._was_started = False, True
        return process

    def _let_rsync_in(self) -> None:
        """Make the data writable for rsync's daemon, which receives the others' state and drops root's rights."""
        self.sandbox.path.chmod(0o755)
        data = self.sandbox.path / "data"
        for path in [data, *data.rglob("*")]:
            shutil.chown(path, "nobody", "nogroup")

    def _server_options(self) -> list[str]:
        members = "" if self._makes_cluster else ",".join(self._addresses)
        options = [
            *super()._server_options(),
            "--wsrep-on=ON",
            f"--wsrep-provider={self._place.find(PROVIDER)}",
            f"--wsrep-cluster-address=gcomm://{members}",
            f"--wsrep-node-address={self.host}",
            "--wsrep-sst-method=rsync",
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
        ]
        return [*options, f"--wsrep-start-position={self._position}"] if self._position else options

    def _recovered_position(self) -> str:
        """Return the position of the last commit before the kill, so that the node fetches only later commits."""
        found = self.sandbox.run(
            self._argv(
                *self._server_options(),
                *user_option(),
                f"--datadir={self.inside('data')}",
                f"--socket={self.inside('recovering.sock')}",
                "--wsrep-recover",
                f"--log-error={self.inside('recovery.log')}",
                "--skip-networking",
            ),
            RECOVER_SECONDS,
        )
        text = (self.sandbox.path / "recovery.log").read_text(errors="replace") + found
        positions = RECOVERED.findall(text)
        if not positions:
            raise ServerFailed(f"no position was recovered:\n{text[-2000:]}")
        return str(positions[-1])

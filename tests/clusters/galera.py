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
    """The first one of `addresses` makes the cluster at its first start; the others get its data."""

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
        """All three are there, and this one has what the others have."""
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
        """It takes statements; not without most of the others."""
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
        """Its daemon, by which the others' state comes, makes itself nobody where it is root."""
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
        """What a node had committed before it was killed: with it, it asks the others for the rest only."""
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

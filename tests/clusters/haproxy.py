"""HAProxy with the configuration of docs/haproxy.cfg, and the addresses of the tests."""

import re
import subprocess
from collections.abc import Sequence

from tests.paths import DOCS
from tests.services import free_port
from tests.services.places import Host
from tests.services.rabbitmq import accepts
from tests.services.server import PrivateServer

CONFIG = DOCS / "haproxy.cfg"
SERVER = re.compile(r"(?<= )10\.0\.(\d)\.(\d):\d+")


class HAProxy(PrivateServer):
    """Listens on `port` for events and on `database_port` for MySQL; `nodes` and `databases` are host:port."""

    def __init__(self, nodes: Sequence[str], databases: Sequence[str]) -> None:
        super().__init__("haproxy", Host())
        self.port = free_port()
        self.database_port = free_port()
        self._servers = {"1": nodes, "2": databases}

    def _prepare(self) -> None:
        text = CONFIG.read_text("utf-8")
        for documented, own in (("0.0.0.0:8000", self.port), ("0.0.0.0:3307", self.database_port)):
            assert text.count(documented) == 1
            text = text.replace(documented, f"127.0.0.1:{own}")
        text = SERVER.sub(lambda found: self._servers[found[1]][int(found[2]) - 1], text)
        (self.sandbox.path / "haproxy.cfg").write_text(text)

    def _launch(self) -> subprocess.Popen[bytes]:
        return self.sandbox.spawn(["/usr/sbin/haproxy", "-db", "-f", self.inside("haproxy.cfg")], self.log)

    def _answers(self) -> bool:
        return accepts(self.port)

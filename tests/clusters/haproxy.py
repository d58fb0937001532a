"""HAProxy before several nodes of the service, asking each for its readiness."""

import subprocess
from collections.abc import Sequence

from tests.services import free_port
from tests.services.places import Host
from tests.services.rabbitmq import accepts
from tests.services.server import PrivateServer

_CONFIG = """\
global
    maxconn 1000
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    option redispatch
frontend events
    bind 127.0.0.1:{port}
    default_backend nodes
backend nodes
    balance roundrobin
    option httpchk GET /readyz
    default-server check inter 500ms fall 2 rise 1
{servers}
"""


class HAProxy(PrivateServer):
    """`ports` are the nodes'."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__("haproxy", Host())
        self.port = free_port()
        self._ports = ports

    def _prepare(self) -> None:
        servers = "\n".join(f"    server node{number} 127.0.0.1:{port}" for number, port in enumerate(self._ports))
        (self.sandbox.path / "haproxy.cfg").write_text(_CONFIG.format(port=self.port, servers=servers))

    def _launch(self) -> subprocess.Popen[bytes]:
        return self.sandbox.spawn(["/usr/sbin/haproxy", "-db", "-f", self._inside("haproxy.cfg")], self.log)

    def _answers(self) -> bool:
        return accepts(self.port)

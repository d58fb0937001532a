"""A load balancer: it sends new connections to a node whose `/readyz` says that it is ready."""

from collections.abc import Sequence
from itertools import count

from tests.faults.harness.background import Background
from tests.running import ServiceProcess

CHECK_SECONDS = 0.1
STOP_SECONDS = 60.0


class Balancer(Background):
    """`with Balancer(nodes) as balancer:` asks each node every `CHECK_SECONDS` until the block ends."""

    def __init__(self, nodes: Sequence[ServiceProcess]) -> None:
        super().__init__(STOP_SECONDS)
        self._nodes = nodes
        self._ready: Sequence[int] = [node.port for node in nodes]
        self._turn = count()

    def port(self) -> int:
        """The port of a ready node, in turn; of any node if no node is ready."""
        ready = self._ready or [node.port for node in self._nodes]
        return ready[next(self._turn) % len(ready)]

    def _run(self) -> None:
        while not self._stopping.wait(CHECK_SECONDS):
            self._ready = [node.port for node in self._nodes if node.status() in ("ready", "degraded")]

"""A load balancer: it sends new connections to a node whose `/readyz` says that it is ready."""

import threading
from collections.abc import Sequence
from itertools import count
from types import TracebackType

from tests.running import ServiceProcess

CHECK_SECONDS = 0.1
STOP_SECONDS = 20.0


class Balancer:
    """`with Balancer(nodes) as balancer:` asks each node every `CHECK_SECONDS` until the block ends."""

    def __init__(self, nodes: Sequence[ServiceProcess]) -> None:
        self._nodes = nodes
        self._ready: Sequence[int] = [node.port for node in nodes]
        self._turn = count()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._check, name="balancer")

    def __enter__(self) -> "Balancer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(STOP_SECONDS)
        assert not self._thread.is_alive(), "the balancer does not stop"

    def port(self) -> int:
        """The port of a ready node, in turn; of any node if no node is ready."""
        ready = self._ready or [node.port for node in self._nodes]
        return ready[next(self._turn) % len(ready)]

    def _check(self) -> None:
        while not self._stopping.wait(CHECK_SECONDS):
            self._ready = [node.port for node in self._nodes if node.status() in ("ready", "degraded")]

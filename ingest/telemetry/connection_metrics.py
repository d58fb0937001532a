"""What an adapter tells of its link to a server: counted by metrics, unheard in commands."""

from typing import Protocol

from prometheus_client import Counter


class ConnectionObserver(Protocol):
    def connected(self) -> None:
        """A connection was made."""

    def retried(self, count: int) -> None:
        """So many were tried again: batches to a database, events to a broker."""


class CountedConnections:
    def __init__(self, connects: Counter, retries: Counter) -> None:
        self._connects = connects
        self._retries = retries

    def connected(self) -> None:
        self._connects.inc()

    def retried(self, count: int) -> None:
        self._retries.inc(count)


class UncountedConnections:
    def connected(self) -> None: ...
    def retried(self, count: int) -> None: ...


NO_OBSERVER = UncountedConnections()

"""Observers of an adapter's connections to a server. The service counts connects and retries; commands do not."""

from typing import Protocol

from prometheus_client import Counter


class ConnectionObserver(Protocol):
    def connected(self) -> None:
        """The adapter made a connection."""

    def retried(self, count: int) -> None:
        """The adapter retried this many: batches to a database, events to a broker."""


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

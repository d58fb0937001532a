"""Failover between the hosts of a URL such as `mysql://user:pass@one:3306,two:3306/name`. One is used at a time."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar
from urllib.parse import urlsplit, urlunsplit

T = TypeVar("T")
C = TypeVar("C")


def each_host(url: str) -> Sequence[str]:
    """Return a URL for each of its hosts, in their order. Raises ValueError for an invalid URL."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=user + at + host)) for host in hosts.split(",")] if hosts else [url]


class FailoverHosts(Generic[T]):
    """Stays with the current server until a connection to it fails. Starts with the first one."""

    def __init__(self, servers: Sequence[T]) -> None:
        self._servers = servers
        self._at = 0

    def __len__(self) -> int:
        return len(self._servers)

    @property
    def current(self) -> T:
        return self._servers[self._at]

    async def connected(self, connect: Callable[[T], Awaitable[C]]) -> C:
        """Connect to the current server, or to the next reachable one. Raises the error of the last server tried.

        A cancelled attempt (usually a timeout) moves on to the next host on retry.
        """
        for further in reversed(range(len(self))):
            server, tried = self.current, self._at
            try:
                return await connect(server)
            except BaseException as exc:
                if self._at == tried:  # otherwise another caller has moved on already
                    self._at = (tried + 1) % len(self)
                if not (further and isinstance(exc, Exception)):
                    raise
        raise AssertionError("there is at least one server")

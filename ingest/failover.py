"""Servers of a cluster: a URL may name several, `mysql://user:pass@one:3306,two:3306/name`; one is used at a time."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar
from urllib.parse import urlsplit, urlunsplit

T = TypeVar("T")
C = TypeVar("C")


def each_host(url: str) -> Sequence[str]:
    """One URL for each of its hosts, in their order; all else of it is the same. Raises ValueError for what is none."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=user + at + host)) for host in hosts.split(",")] if hosts else [url]


class FailoverHosts(Generic[T]):
    """Keeps to the server that could be connected to last; the first one at the beginning."""

    def __init__(self, servers: Sequence[T]) -> None:
        self._servers = servers
        self._at = 0

    def __len__(self) -> int:
        return len(self._servers)

    @property
    def current(self) -> T:
        return self._servers[self._at]

    async def connected(self, connect: Callable[[T], Awaitable[C]]) -> C:
        """To the current one, or to the first after it that can be; raises what the last one did.

        Who is cancelled meanwhile, by a deadline as a rule, begins with the next one when it tries again.
        """
        for further in reversed(range(len(self))):
            server, tried = self.current, self._at
            try:
                return await connect(server)
            except BaseException as exc:
                if self._at == tried:  # else another caller has moved on already
                    self._at = (tried + 1) % len(self)
                if not (further and isinstance(exc, Exception)):
                    raise
        raise AssertionError("there is at least one server")

"""URLs of several hosts, and the choice of the next one."""

import asyncio

import pytest

from ingest.failover import FailoverHosts, each_host


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("mysql://u:p@db/calls", ["mysql://u:p@db/calls"]),
        ("mysql://u:p,q@a:1,b/calls?x=y", ["mysql://u:p,q@a:1/calls?x=y", "mysql://u:p,q@b/calls?x=y"]),
        ("amqp://[::1]:5672,b", ["amqp://[::1]:5672", "amqp://b"]),
        ("sqlite:///var/calls.db", ["sqlite:///var/calls.db"]),
        ("embedded:", ["embedded:"]),
    ],
)
def test_each_host_has_a_url_of_its_own(url: str, urls: list[str]) -> None:
    assert list(each_host(url)) == urls


class Servers:
    """Hosts named by letters. The `away` ones refuse connections, and the `silent` ones never answer."""

    def __init__(self, names: str) -> None:
        self.rota = FailoverHosts(names)
        self.away: set[str] = set()
        self.silent: set[str] = set()
        self.tried: list[str] = []

    async def connected(self) -> str:
        return await self.rota.connected(self._connect)

    async def _connect(self, name: str) -> str:
        self.tried.append(name)
        if name in self.silent:
            await asyncio.Event().wait()
        if name in self.away:
            raise OSError(name)
        return name


async def test_first_host_stays_current() -> None:
    servers = Servers("abc")
    assert [await servers.connected() for _ in range(3)] == ["a", "a", "a"]


async def test_next_host_is_tried_and_stays_current() -> None:
    servers = Servers("abc")
    servers.away = {"a"}
    assert [await servers.connected() for _ in range(2)] == ["b", "b"]
    servers.away = {"b"}
    assert await servers.connected() == "c"
    servers.away = {"c"}
    assert await servers.connected() == "a"
    assert servers.tried == ["a", "b", "b", "b", "c", "c", "a"]


async def test_each_is_tried_once() -> None:
    servers = Servers("abc")
    servers.away = set("abc")
    with pytest.raises(OSError, match="c"):
        await servers.connected()
    assert servers.tried == ["a", "b", "c"]


async def test_cancelled_attempt_moves_on_to_the_next_host() -> None:
    servers = Servers("ab")
    servers.silent = {"a"}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await servers.connected()
    assert await servers.connected() == "b"


async def test_several_that_fail_at_once_move_on_by_one() -> None:
    servers = Servers("abc")
    servers.silent = {"a"}
    waiting = [asyncio.create_task(servers.connected()) for _ in range(2)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert servers.rota.current == "b"

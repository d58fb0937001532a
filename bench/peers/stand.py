"""The stand of a peer: a database with the service's table, a queue and a port; and the peer as a load's target."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from pika.adapters.blocking_connection import BlockingChannel

from bench.harness.cpu import Components
from bench.harness.targets import CLEAR, DRAIN_SECONDS_MAX, ROWS, BenchFailed, Servers, broker_channel, if_ours
from tests.running import TOKEN, ServiceProcess
from tests.services import free_port, wait_until

QueueType = Literal["quorum", "classic"]

QUIET_SECONDS = 0.5
"""The queue's depth must stay constant for this time. Then the requests that the load's end cut off are done."""


class Stand(msgspec.Struct, frozen=True):
    servers: Servers
    database_url: str
    amqp_url: str
    queue: str
    port: int

    @property
    def database(self) -> str:
        return urlsplit(self.database_url).path.lstrip("/")

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that configure every peer."""
        return {
            "DATABASE_URL": self.database_url,
            "AMQP_URL": self.amqp_url,
            "QUEUE": self.queue,
            "API_TOKEN": TOKEN,
            "PORT": str(self.port),
        }

    def count(self, sql: str) -> int:
        """Return the number that a query finds in the database."""
        return int(self.servers.mysql.query(sql, self.database)[0][0])

    def depth(self, channel: BlockingChannel) -> int:
        """Count the queue's messages. A quorum queue counts only those that its majority has."""
        return int(channel.queue_declare(self.queue, passive=True).method.message_count)


@contextmanager
def stand(servers: Servers, queue_type: QueueType, arguments: Mapping[str, str | int] | None = None) -> Iterator[Stand]:
    """Create the tables with `ingest migrate`, and the queue as the service declares it. Delete both afterwards.

    `arguments` are added to those of the queue.
    """
    rabbitmq = servers.rabbitmq
    made = Stand(servers, servers.mysql.fresh_database(), rabbitmq.amqp_url, rabbitmq.fresh_queue_name(), free_port())
    try:
        _migrate(made.database_url)
        with broker_channel(rabbitmq) as channel:
            declared = {"x-queue-type": queue_type, **(arguments or {})}
            channel.queue_declare(made.queue, durable=True, arguments=declared)
        yield made
    finally:
        servers.mysql.query(f"DROP DATABASE IF EXISTS {made.database}")
        with broker_channel(rabbitmq) as channel:
            channel.queue_delete(made.queue)


def _migrate(database_url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            ServiceProcess(Path(folder), {"DATABASE_URL": database_url}).command("migrate")
        except subprocess.CalledProcessError as exc:
            raise BenchFailed(f"the peers' table could not be created: {exc.stderr}") from exc


class Steady:
    """A condition: the value of `read` has not changed for `quiet_seconds`."""

    def __init__(
        self, read: Callable[[], int], quiet_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._since = clock()
        self._value: int | None = None

    def __call__(self) -> bool:
        value = self._read()
        if value != self._value:
            self._value, self._since = value, self._clock()
        return self._clock() - self._since >= self._quiet_seconds


class Peer:
    """A peer's processes as a target; `versions` are those of its parts."""

    token = TOKEN

    def __init__(self, stand: Stand, roots: Sequence[int], versions: Mapping[str, str]) -> None:
        self.stand = stand
        self.port = stand.port
        self.versions = versions
        self._roots = roots

    def components(self) -> Components:
        servers = self.stand.servers
        return {
            "service": self._roots,
            **if_ours("database", servers.mysql),
            **if_ours("broker", servers.rabbitmq),
        }

    def drain(self) -> None:
        """Wait until the queue has as many messages as the table has rows, as most peers have no outbox to query."""
        with broker_channel(self.stand.servers.rabbitmq) as channel:

            def depth() -> int:
                return self.stand.depth(channel)

            steady = Steady(depth, QUIET_SECONDS)
            if not wait_until(lambda: steady() and depth() >= self.rows(), DRAIN_SECONDS_MAX):
                raise BenchFailed(f"{self.rows() - depth()} events are not published after {DRAIN_SECONDS_MAX} s")

    def rows(self) -> int:
        return self.stand.count(ROWS)

    def clear(self) -> None:
        self.stand.servers.mysql.query(CLEAR, self.stand.database)
        with broker_channel(self.stand.servers.rabbitmq) as channel:
            channel.queue_purge(self.stand.queue)

"""Targets of a load: the bare no-op, and the service with its own database and queue."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Literal, Protocol, get_args
from urllib.parse import urlsplit

import msgspec
import pika

from bench.harness.cpu import Components, descendants
from bench.harness.noops import Kind
from ingest.http.event_handler import PATH
from tests.faults.reading import spooled
from tests.running import TOKEN, ServiceProcess
from tests.services import MySQLServer, RabbitMQServer, free_port, mysql_server, rabbitmq_server, wait_until
from tests.services.server import PrivateServer, Server

Mode = Literal["quorum", "classic", "stream"]
MODES: tuple[Mode, ...] = get_args(Mode)

START_SECONDS = 20
UNAUTHENTICATED = 401
DRAIN_SECONDS_MAX = 60
UNPUBLISHED = "SELECT COUNT(*) FROM ingest_outbox"
ROWS = "SELECT COUNT(*) FROM call_event_logs"
CLEAR = "TRUNCATE TABLE call_event_logs"


class BenchFailed(Exception):
    """The benchmark has no result; the text gives the reason."""


class Servers(msgspec.Struct, frozen=True):
    mysql: MySQLServer
    rabbitmq: RabbitMQServer


class Target(Protocol):
    """A server of events on a port of this machine."""

    port: int
    token: str

    def components(self) -> Components:
        """Return the processes of this machine whose CPU time counts."""

    def drain(self) -> None:
        """Return when all answered events are in the database and published. Raises `BenchFailed` on a timeout."""

    def rows(self) -> int | None:
        """Count the events in the database since the last `clear`; None without a database."""

    def clear(self) -> None:
        """Delete all events, so that every round starts from the same state."""


@contextmanager
def servers() -> Iterator[Servers]:
    """Start the database and the broker that the environment selects, as in the tests."""
    with mysql_server() as mysql, rabbitmq_server() as rabbitmq:
        yield Servers(mysql, rabbitmq)


class Noop:
    """See `bench.harness.noops`."""

    token = TOKEN

    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.port = port
        self._process = process

    def components(self) -> Components:
        return {"service": descendants(self._process.pid)}

    def drain(self) -> None:
        """Do nothing: a no-op stores nothing."""

    def rows(self) -> int | None:
        return None

    def clear(self) -> None:
        """Do nothing: a no-op stores nothing."""

    def answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request("POST", PATH, b"{}")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


@contextmanager
def noop(kind: Kind = "asgi", workers: int = 1) -> Iterator[Target]:
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "bench.harness.noops", kind, str(port), str(workers)]) as process:
        target = Noop(port, process)
        try:
            if not wait_until(target.answers, START_SECONDS):
                raise BenchFailed("the no-op does not answer")
            yield target
        finally:
            process.terminate()


class Service:
    """The service's process with its servers."""

    token = TOKEN

    def __init__(self, process: ServiceProcess, servers: Servers, database: str, queue: str, mode: Mode) -> None:
        """`queue` is the name of a queue or stream. `clear` purges a queue; a stream cannot be purged."""
        self.port = process.port
        self._process = process
        self._servers = servers
        self.database = database
        self.queue = queue
        self._can_purge = mode != "stream"

    def components(self) -> Components:
        return {
            "service": self._process.worker_pids(),
            **if_ours("database", self._servers.mysql),
            **if_ours("broker", self._servers.rabbitmq),
        }

    def drain(self) -> None:
        spools = Path(self._process.environment["INGEST_DATA_DIR"])
        if not wait_until(lambda: spooled(spools) == 0, DRAIN_SECONDS_MAX):
            raise BenchFailed(f"{spooled(spools)} events are in the spool after {DRAIN_SECONDS_MAX} s")
        if not wait_until(lambda: self._count(UNPUBLISHED) == 0, DRAIN_SECONDS_MAX):
            raise BenchFailed(f"{self._count(UNPUBLISHED)} batches are not published after {DRAIN_SECONDS_MAX} s")

    def rows(self) -> int | None:
        return self._count(ROWS)

    def clear(self) -> None:
        self._servers.mysql.query(CLEAR, self.database)
        self.purge()

    def command(self, *words: str, seconds: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Run another command of `ingest` with the service's settings. Raises `BenchFailed` if it fails."""
        done = self._process.command(*words, check=False, seconds=seconds)
        if done.returncode:
            raise BenchFailed(f"`ingest {' '.join(words)}` failed: {done.stderr.strip()}")
        return done

    def new_token(self, name: str, *options: str) -> str:
        """Create a token in the database, and return its secret once a worker admits it."""
        secret = self.command("tokens", "create", name, *options).stdout.strip()
        if not wait_until(lambda: self.post(PATH, b"", secret) != UNAUTHENTICATED, START_SECONDS):
            raise BenchFailed(f"the service does not know the new token {name!r} after {START_SECONDS} s")
        return secret

    def post(self, path: str, body: bytes, token: str) -> int:
        """Send one POST, and return the status of its response."""
        return self._process.request("POST", path, body, {"X-API-TOKEN": token})[0]

    def another_queue(self) -> str:
        """Return a new queue name. The queue ends with the servers."""
        return self._servers.rabbitmq.fresh_queue_name()

    def purge(self) -> None:
        """Purge the queue; a stream stays as it is."""
        if self._can_purge:
            with broker_channel(self._servers.rabbitmq) as channel:
                channel.queue_purge(self.queue)

    def _count(self, sql: str) -> int:
        return int(self._servers.mysql.query(sql, self.database)[0][0])


def if_ours(name: str, server: Server) -> Components:
    return {name: [server.pid]} if isinstance(server, PrivateServer) else {}


@contextmanager
def service(
    servers: Servers,
    mode: Mode,
    workers: int = 1,
    tree: Path | None = None,
    module: str = "ingest",
    environment: Mapping[str, str] | None = None,
    python: Path | None = None,
) -> Iterator[Service]:
    """Run the service, of this tree or another, with an empty database and queue. Both are deleted afterwards.

    `module` is a Python module that serves in place of `ingest`. `environment` is added to the settings. `python` runs
    the service in place of the Python that runs the benchmark.
    """
    url = servers.mysql.fresh_database()
    database = urlsplit(url).path.lstrip("/")
    queue = servers.rabbitmq.fresh_queue_name()
    settings = {
        "DATABASE_URL": url,
        "BROKER_URL": servers.rabbitmq.amqp_url,
        "QUEUE": queue,
        "WORKERS": str(workers),
        "STREAM_URL": servers.rabbitmq.stream_url,
        **_publishing(mode),
    }
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            process = ServiceProcess(Path(folder), settings, tree, module, python=python)
            process.environment |= environment or {}
            stack.enter_context(process)
            yield Service(process, servers, database, queue, mode)
    finally:
        servers.mysql.query(f"DROP DATABASE IF EXISTS {database}")
        with broker_channel(servers.rabbitmq) as channel:
            channel.queue_delete(queue)


def _publishing(mode: Mode) -> dict[str, str]:
    if mode == "stream":
        return {"PUBLISH_TO": "stream"}
    return {"QUEUE_TYPE": mode}


@contextmanager
def broker_channel(rabbitmq: RabbitMQServer) -> "Iterator[pika.adapters.blocking_connection.BlockingChannel]":
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.amqp_url))
    try:
        yield connection.channel()
    finally:
        connection.close()

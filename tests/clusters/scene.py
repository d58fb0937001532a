"""Two nodes of the service behind HAProxy, with three Galera nodes and three RabbitMQ nodes."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.clusters.galera import GaleraNode
from tests.clusters.haproxy import HAProxy
from tests.clusters.network import Network
from tests.clusters.rabbitmq import ClusterNode
from tests.faults.harness.ledger import Message, Row
from tests.faults.reading import backlog_of, rows_of, spooled, take_messages
from tests.running import ServiceProcess
from tests.services import free_port, wait_until

NODES = 3
SERVICE_NODES = 2
WORKERS = 2
WHOLE_SECONDS = 120.0
DRAINED_SECONDS = 120.0
READY_SECONDS = 60.0


class Clusters:
    """Both clusters. All nodes run and are connected, unless a test stops one or cuts it off."""

    def __init__(self, galera: Sequence[GaleraNode], rabbitmq: Sequence[ClusterNode]) -> None:
        self.galera = galera
        self.rabbitmq = rabbitmq

    def wait_until_whole(self, queue: str) -> None:
        def whole() -> bool:
            return (
                all(node.is_synced for node in self.galera)
                and all(node.is_whole for node in self.rabbitmq)
                and replicas(self.rabbitmq[0], queue) == NODES
            )

        if not wait_until(whole, WHOLE_SECONDS):
            raise AssertionError("the clusters do not become whole again")


def replicas(node: ClusterNode, queue: str) -> int:
    """Count the online replicas of a quorum queue or stream."""
    listed = json.loads(node.ctl("list_queues", "name", "online", "--formatter", "json"))
    return next((len(one["online"]) for one in listed if one["name"] == queue), 0)


@contextmanager
def clusters() -> Iterator[Clusters]:
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        databases, brokers = range(11, 11 + NODES), range(21, 21 + NODES)
        galera = [GaleraNode(network.node(n), [network.address(n) for n in databases]) for n in databases]
        rabbitmq = [ClusterNode(network.node(n), [network.address(n) for n in brokers]) for n in brokers]
        for node in [*galera, *rabbitmq]:
            stack.enter_context(node)
        yield Clusters(galera, rabbitmq)


class Scene:
    """The service and its servers. Queries go to a running server."""

    def __init__(self, both: Clusters, services: Sequence[ServiceProcess], haproxy: HAProxy, database_url: str) -> None:
        self.both = both
        self.services = services
        self.haproxy = haproxy
        self.queue = services[0].environment["INGEST_QUEUE"]
        self._database_url = database_url

    def wait_until_published(self) -> None:
        def left() -> int:
            in_spools = sum(spooled(Path(one.environment["INGEST_DATA_DIR"])) for one in self.services)
            return in_spools + backlog_of(self._database_url)

        if not wait_until(lambda: left() == 0, DRAINED_SECONDS):
            raise AssertionError(f"{left()} events are not published in time:\n{self.services[0].log()}")

    def rows(self) -> list[Row]:
        return rows_of(self._database_url)

    def take_messages(self) -> list[Message]:
        return take_messages(self.both.rabbitmq[0].amqp_url, self.queue)


@contextmanager
def scene(both: Clusters, publish_to: str) -> Iterator[Scene]:
    """Start the service. With a stream the database URL names HAProxy, as order needs one writer; else all nodes."""
    database_url = both.galera[0].fresh_database()
    databases = [f"{node.host}:{node.port}" for node in both.galera]
    ports = [free_port() for _ in range(SERVICE_NODES)]
    with ExitStack() as stack:
        haproxy = stack.enter_context(HAProxy([f"127.0.0.1:{port}" for port in ports], databases))
        database_proxy = [f"127.0.0.1:{haproxy.database_port}"]
        settings = {
            "DATABASE_URL": of_all(database_url, database_proxy if publish_to == "stream" else databases),
            "BROKER_URL": of_all(both.rabbitmq[0].amqp_url, [f"{node.host}:{node.port}" for node in both.rabbitmq]),
            "STREAM_URL": of_all(
                both.rabbitmq[0].stream_url, [f"{node.host}:{node.stream_port}" for node in both.rabbitmq]
            ),
            "PUBLISH_TO": publish_to,
            "QUEUE": both.rabbitmq[0].fresh_queue_name(),
            "WORKERS": str(WORKERS),
            "LEASE_SECONDS": "10",
        }
        services = []
        for port in ports:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="call-events-clusters-"))
            service = stack.enter_context(ServiceProcess(Path(folder), {**settings, "PORT": str(port)}))
            service.wait_for_status("ready", seconds=READY_SECONDS)
            services.append(service)
        made = Scene(both, services, haproxy, database_url)
        both.wait_until_whole(made.queue)
        yield made


def of_all(url: str, addresses: Sequence[str]) -> str:
    """Return the URL with these addresses in place of its own."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{','.join(addresses)}"))

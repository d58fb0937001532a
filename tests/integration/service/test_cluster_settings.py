"""Nodes with different settings on one database publish to one target, until an operator switches it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pika
import pytest

from tests.contract.broker.publishers import Stream, channel_to
from tests.faults.reading import backlog_of
from tests.running import EVENT, ServiceProcess
from tests.services import MySQLServer, RabbitMQServer, wait_until

EVENTS = 30
SECONDS = 60.0
pytestmark = pytest.mark.servers


class Nodes:
    """Makes nodes of one database."""

    def __init__(self, mysql: MySQLServer, rabbitmq: RabbitMQServer, folder: Path, stack: ExitStack) -> None:
        self.mysql = mysql
        self.rabbitmq = rabbitmq
        self.database_url = mysql.fresh_database()
        self.stream = Stream(rabbitmq)
        self._folder = folder
        self._stack = stack

    def node(self, name: str, publish_to: str, **settings: str) -> ServiceProcess:
        """Start a node. It may be degraded."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        values = {
            "DATABASE_URL": self.database_url,
            "BROKER_URL": self.rabbitmq.amqp_url,
            "STREAM_URL": self.stream.url,
            "QUEUE": self.stream.name,
            "PUBLISH_TO": publish_to,
            "WATCHDOG_SECONDS": "0",
            **settings,
        }
        return self._stack.enter_context(ServiceProcess(folder, values))

    def wait_until_published(self) -> None:
        assert wait_until(lambda: backlog_of(self.database_url, None) == 0, SECONDS)

    def age_record(self, seconds: int) -> None:
        """Change the record as if the nodes were seen this time ago."""
        name = self.database_url.rpartition("/")[2]
        now = "UTC_TIMESTAMP(6)"
        self.mysql.query(f"UPDATE {name}.ingest_cluster_settings SET seen_time = {now} - INTERVAL {seconds} SECOND")


@pytest.fixture
def nodes(mysql: MySQLServer, rabbitmq: RabbitMQServer, tmp_path: Path) -> Iterator[Nodes]:
    with ExitStack() as stack:
        made = Nodes(mysql, rabbitmq, tmp_path, stack)
        yield made
    with channel_to(rabbitmq.amqp_url) as channel:
        channel.queue_delete(made.stream.name)


def post(node: ServiceProcess, kind: str) -> set[str]:
    """Post `EVENTS` events; return their calls."""
    calls = {f"{kind}-{number}" for number in range(EVENTS)}
    for call in calls:
        assert node.post({**EVENT, "call_id": call})[0] == 200
    return calls


async def test_events_of_a_node_in_another_mode_go_to_the_shared_target(nodes: Nodes) -> None:
    """Regression: each node published the other's events to its own target, without end."""
    streaming = nodes.node("streaming", "stream")
    streaming.wait_for_status("ready")
    queueing = nodes.node("queueing", "queue", QUEUE=f"{nodes.stream.name}-other")
    queueing.wait_for_status("degraded")

    def reason() -> str:
        return queueing.request("GET", "/readyz")[1].decode()

    assert wait_until(lambda: "INGEST_PUBLISH_TO=queue" in reason(), SECONDS), reason()
    assert f":{streaming.port}" in reason()
    calls = post(queueing, "queueing") | post(streaming, "streaming")
    nodes.wait_until_published()
    found = await nodes.stream.received(2 * EVENTS)
    assert sorted(_call_of(m.body) for m in found) == sorted(calls)
    with (
        channel_to(nodes.rabbitmq.amqp_url) as channel,
        pytest.raises(pika.exceptions.ChannelClosedByBroker, match="404"),
    ):
        channel.queue_declare(f"{nodes.stream.name}-other", passive=True)
    doctor = queueing.command("doctor", check=False)
    assert doctor.returncode == 1
    assert "FAIL  cluster: This node has INGEST_PUBLISH_TO=queue" in doctor.stdout
    assert "INGEST_PUBLISH_TO=stream" in queueing.command("cluster", "ls").stdout
    refused = queueing.command("cluster", "switch", check=False)
    assert refused.returncode == 1
    assert f":{streaming.port}" in refused.stderr


def test_restart_of_the_only_node_switches_the_target(nodes: Nodes) -> None:
    streaming = nodes.node("node", "stream")
    streaming.wait_for_status("ready")
    post(streaming, "streaming")
    nodes.wait_until_published()
    streaming.stop()
    other = f"{nodes.stream.name}-queue"
    queueing = nodes.node("node", "queue", QUEUE=other)
    queueing.wait_for_status("ready")
    post(queueing, "queueing")
    nodes.wait_until_published()
    with channel_to(nodes.rabbitmq.amqp_url) as channel:
        assert channel.queue_declare(other, passive=True).method.message_count == EVENTS
        channel.queue_delete(other)


def test_operator_switches_the_target_after_all_nodes_were_killed(nodes: Nodes) -> None:
    streaming = nodes.node("node", "stream")
    streaming.wait_for_status("ready")
    streaming.kill()
    other = f"{nodes.stream.name}-queue"
    queueing = nodes.node("node", "queue", QUEUE=other)
    queueing.wait_for_status("degraded")
    post(queueing, "queueing")  # these wait in the outbox, because their target is unknown
    nodes.age_record(0)
    assert queueing.command("cluster", "switch", check=False).returncode == 1
    nodes.age_record(31)
    assert "agreed" in queueing.command("cluster", "switch").stdout
    queueing.wait_for_status("ready")
    nodes.wait_until_published()
    with channel_to(nodes.rabbitmq.amqp_url) as channel:
        assert channel.queue_declare(other, passive=True).method.message_count == EVENTS
        channel.queue_delete(other)


def _call_of(body: bytes) -> str:
    return str(json.loads(body)["call_id"])

"""Two nodes of the service that publish to one partitioned stream."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ingest.events.ids import milliseconds_of, slot_of
from tests.faults.form import Form
from tests.faults.harness.calls import Calls, Found, compared, read_partition
from tests.faults.harness.scene import Scene
from tests.faults.reading import ids_of_calls
from tests.services import MySQLServer, RabbitMQServer, wait_until
from tests.services.rabbitmq import STREAMS

PARTITIONS = 3
STEADY_EVENTS = 200
SECONDS = 60.0


def stream_settings(mysql: MySQLServer, rabbitmq: RabbitMQServer, form: Form) -> Mapping[str, str]:
    """Settings of all nodes, with a new database and stream."""
    return {
        "DATABASE_URL": mysql.fresh_database(),
        "QUEUE": rabbitmq.fresh_queue_name(),
        "PUBLISH_TO": "stream",
        "STREAM_URL": rabbitmq.stream_url,
        "STREAM_PARTITIONS": str(PARTITIONS),
        "LEASE_SECONDS": str(form.lease_seconds),
    }


class Nodes:
    """Two nodes with two workers each, on one database and one partitioned stream."""

    def __init__(self, one: Scene, other: Scene) -> None:
        self.one = one
        self.other = other
        self.mysql = one.mysql
        self.rabbitmq = one.rabbitmq

    def calls(self) -> Calls:
        return Calls([self.one.service.port, self.other.service.port])

    def wait_until_ready(self) -> None:
        """Wait until both nodes work with their servers, after a test that was cut off in an outage."""
        for node in (self.one, self.other):
            node.service.wait_for_status("ready", seconds=SECONDS)

    def wait_for_steady(self, calls: Calls) -> None:
        wanted = calls.events + STEADY_EVENTS
        if not wait_until(lambda: calls.events >= wanted, SECONDS):
            raise AssertionError(f"events are not accepted (again):\n{self.one.service.log()}")

    def account(self, calls: Calls) -> Found:
        """Wait until all events are published, and compare the partitions with these calls."""
        for node in (self.one, self.other):
            node.wait_until_drained()
        self.one.wait_until_published()
        streams = [f"{self.one.queue}-{number}" for number in range(PARTITIONS)]
        with ThreadPoolExecutor() as threads:
            partitions = threads.map(partial(read_partition, self.rabbitmq.amqp_url), streams)
            return compared(calls.answered, [list(filter(calls.made, partition)) for partition in partitions])

    def evidence(self, found: Found) -> str:
        """Return time and id slot of disordered events, and the nodes' logs, to find the cause."""
        rows = ids_of_calls(self.one.database_url, found.examples)
        taken = [f"{call} {milliseconds_of(event_id)} ms, slot {slot_of(event_id)}" for call, event_id in rows]
        return "\n".join([str(found), *taken, self.one.service.log(), self.other.service.log()])

    def kill_rabbitmq(self) -> None:
        self.rabbitmq.wait_until_crash_safe(STREAMS)
        self.rabbitmq.kill()
        self.rabbitmq.start()

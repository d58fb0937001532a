"""MySQL and RabbitMQ of a world: the service's real store and publisher talk to the models of the servers."""

from collections.abc import Collection, Mapping, Sequence

from ingest.broker.amqp.publisher import AmqpPublisher
from ingest.broker.base import Held, Publisher
from ingest.clock import unix_us
from ingest.events.batch import Batch
from ingest.server.factories.broker import make_declaration
from ingest.settings import Settings
from ingest.store.base import Store
from ingest.store.mysql.pool import Servers as MySQLServers
from ingest.store.mysql.store import MySQLStore
from ingest.telemetry.metrics import Metrics
from tests.simulation.chance import Chance
from tests.simulation.drivers.rows import ObservedDatabase
from tests.simulation.machine.loop import Process, SimulatedLoop, current
from tests.simulation.mysql import faults as mysql_faults
from tests.simulation.mysql.server import Client, Server
from tests.simulation.rabbitmq import faults as rabbitmq_faults
from tests.simulation.rabbitmq.broker import Broker
from tests.simulation.rabbitmq.network import Network
from tests.simulation.servers import ServerFault

CALM_STATEMENTS = mysql_faults.FaultRates(statement_seconds=(0.0001, 0.002))
STATEMENTS = mysql_faults.FaultRates(
    query=0.01, connect=0.02, statement_seconds=(0.0001, 0.002), slow_seconds=(0.1, 3.0), notices_gone=0.5
)
CALM_CONFIRMS = rabbitmq_faults.FaultRates(confirm_seconds=(0.0002, 0.004))
CONFIRMS = rabbitmq_faults.FaultRates(chunk=0.02, split=0.2, confirm_seconds=(0.0002, 0.004))
LOST_COMMITS_MAX = 4


class DriverServers:
    """Implements `tests.simulation.servers.Servers`."""

    marks: Sequence[str] = ()

    def __init__(self, chance: Chance, loop: SimulatedLoop) -> None:
        self._chance = chance
        self._database = ObservedDatabase()
        self._mysql = Server(self._database, unix_us, chance, STATEMENTS)
        self._broker = Broker(chance, CONFIRMS)
        self._clients: dict[Process, Client] = {}
        self._network = Network(lambda: chance.seconds("network", 0.0001, 0.002), current.get)
        self._queue = ""
        self._safe: dict[int, bytes] = {}
        self._seen = 0
        self._loop = loop
        loop.reach = self._network.create_connection

    def store(self, settings: Settings, metrics: Metrics, process: Process) -> Store:
        client = self._clients[process] = Client(lambda _: self._mysql)
        return MySQLStore(
            MySQLServers.parse(settings.database_url, connect=client.connect),
            connections_max=settings.store_connections_max,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            commit_timeout_seconds=settings.commit_timeout_seconds,
            now_us=unix_us,
            observer=metrics.database,
        )

    def publisher(self, settings: Settings, metrics: Metrics, held: Held, process: Process) -> Publisher:
        if not self._queue:
            self._queue = settings.queue
            self._loop.in_world(lambda: self._network.listen("broker", 5672, self._broker))
        return AmqpPublisher(
            settings.broker_url,
            make_declaration(settings),
            metrics.broker,
            held,
            channels_max=settings.channels_max,
            confirm_timeout_seconds=settings.confirm_timeout_seconds,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            reconnect_seconds_max=settings.reconnect_seconds_max,
        )

    def process_ended(self, process: Process) -> None:
        if client := self._clients.pop(process, None):
            client.end()
        self._network.end_of(process)

    @property
    def rows(self) -> Mapping[bytes, Sequence[int]]:
        return self._database.rows

    @property
    def entries(self) -> Collection[int]:
        return self._database.entries

    @property
    def dead(self) -> Mapping[int, bytes]:
        return self._database.dead

    def is_published(self, event_id: int, payload: bytes) -> bool:
        if self._safe.get(event_id) != payload:
            self._safe = {
                int(message.message_id): message.body
                for message in self._broker.messages(self._queue)
                if message.is_safe and message.is_persistent
            }
        return self._safe.get(event_id) == payload

    def new_settled(self) -> Sequence[Batch]:
        settled, self._database.settled = self._database.settled, []
        return settled

    def new_messages(self) -> Sequence[tuple[int, bytes]]:
        messages = self._broker.messages(self._queue)
        new = messages[min(self._seen, len(messages)) :]
        self._seen = len(messages)
        return [(int(message.message_id), message.body) for message in new]

    def new_excused(self) -> set[bytes]:
        lost, self._database.lost = self._database.lost, set()
        return lost

    @property
    def defect(self) -> Exception | None:
        return self._mysql.defect or self._broker.defect

    def faults(self) -> Mapping[str, ServerFault]:
        mysql, broker = self._mysql, self._broker
        return {
            "mysql is away": ServerFault(0.12, 6.0, mysql.crash, mysql.start),
            "mysql freezes": ServerFault(0.10, 4.0, mysql.freeze, mysql.thaw),
            "mysql restarts": ServerFault(0.08, 0.1, mysql.restart, _nothing),
            "mysql is read-only": ServerFault(0.05, 4.0, lambda: self._read_only(on=True), self._writable),
            "mysql fails over": ServerFault(0.03, 0.1, self._fail_over, _nothing),
            "rabbitmq is away": ServerFault(0.10, 6.0, broker.crash, broker.start),
            "rabbitmq stops": ServerFault(0.05, 6.0, broker.stop, broker.start),
            "rabbitmq freezes": ServerFault(0.06, 4.0, broker.freeze, broker.thaw),
            "rabbitmq has an alarm": ServerFault(0.05, 4.0, broker.block, broker.unblock),
        }

    def end_faults(self) -> None:
        self._mysql.rates = CALM_STATEMENTS
        self._broker.rates = CALM_CONFIRMS

    def _read_only(self, *, on: bool) -> None:
        self._mysql.read_only = on

    def _writable(self) -> None:
        self._read_only(on=False)

    def _fail_over(self) -> None:
        self._mysql.fail_over(1 + self._chance.pick("commits that a failover loses", LOST_COMMITS_MAX))


def _nothing() -> None: ...

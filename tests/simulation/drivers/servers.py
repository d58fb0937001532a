"""MySQL and RabbitMQ of a world: the service's real store and publisher talk to the models of the servers."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from ingest.auth.tokens import TokenTable
from ingest.broker.amqp.publisher import AmqpPublisher
from ingest.broker.base import Held, Publisher
from ingest.broker.stream.publisher import StreamPublisher
from ingest.broker.stream.topology import StreamTopology
from ingest.clock import unix_us
from ingest.events.batch import Batch
from ingest.retention.scheduler import RetentionScheduler
from ingest.server.factories.broker import make_declaration
from ingest.server.factories.store import make_retention
from ingest.settings import Settings
from ingest.store.base import Store
from ingest.store.mysql.lock import mysql_lock
from ingest.store.mysql.order import OrderedMySQLStore
from ingest.store.mysql.partitioning.partitions import PartitionedTable
from ingest.store.mysql.pool import Servers as MySQLServers
from ingest.store.mysql.store import MySQLStore
from ingest.telemetry.connection_metrics import NO_OBSERVER, ConnectionObserver
from ingest.telemetry.metrics import Metrics
from tests.simulation.chance import Chance
from tests.simulation.drivers.messages import SafeMessages, read
from tests.simulation.drivers.past import begin_with_past, due
from tests.simulation.drivers.rows import ObservedDatabase
from tests.simulation.machine.loop import Process, SimulatedLoop, current
from tests.simulation.machine.nodes import BOOT_US
from tests.simulation.mysql import faults as mysql_faults
from tests.simulation.mysql.server import Client, Server
from tests.simulation.rabbitmq import faults as rabbitmq_faults
from tests.simulation.rabbitmq.broker import Broker
from tests.simulation.rabbitmq.network import Network
from tests.simulation.rabbitmq.order import order_futures
from tests.simulation.rabbitmq.queues import Message
from tests.simulation.rabbitmq.streams.log import Entry
from tests.simulation.servers import RETENTION_DAYS, Forgotten, Removed, ServerFault

CALM_STATEMENTS = mysql_faults.FaultRates(statement_seconds=(0.0001, 0.002))
STATEMENTS = mysql_faults.FaultRates(
    query=0.01, connect=0.02, statement_seconds=(0.0001, 0.002), slow_seconds=(0.1, 3.0), notices_gone=0.5
)
CALM_CONFIRMS = rabbitmq_faults.FaultRates(confirm_seconds=(0.0002, 0.004))
CONFIRMS = rabbitmq_faults.FaultRates(chunk=0.02, split=0.2, confirm_seconds=(0.0002, 0.004))
LOST_COMMITS_MAX = 40
UNLISTED = 1105
"""A number that the service does not list. A table or a plugin gives it for reasons of many kinds."""
RETENTION_WORLDS = 3
"""The service drops days in every third world."""
RETENTION_QUERY_SECONDS = 4.0


class DriverServers:
    """Implements `tests.simulation.servers.Servers`."""

    marks: Sequence[str] = ()
    takes_all = False

    def __init__(self, chance: Chance, loop: SimulatedLoop) -> None:
        order_futures()
        self._chance = chance
        self.stream = chance.pick("stream", 2) == 1
        self.keeps_order = self.stream and chance.pick("order", 2) == 1
        self.went_back = self.slots_lost = False
        self._database = ObservedDatabase()
        self.retention_days = RETENTION_DAYS * drops_days(chance)
        self.archives = bool(self.retention_days) and chance.pick("archive", 2) == 1
        if self.retention_days:
            begin_with_past(self._database, chance, BOOT_US)
        self._mysql = Server(self._database, unix_us, chance, CALM_STATEMENTS if self.keeps_order else STATEMENTS)
        self._broker = Broker(chance, CONFIRMS, now_ms=lambda: unix_us() // 1000)
        self._clients: dict[Process, Client] = {}
        self._network = Network(lambda: chance.seconds("network", 0.0001, 0.002), current.get)
        self._queue = ""
        self._safe = SafeMessages()
        self._seen = 0
        self._loop = loop
        loop.reach = self._network.create_connection

    def store(self, settings: Settings, metrics: Metrics, process: Process) -> Store:
        return self._store(settings, process, metrics.database)

    def operator(self, settings: Settings, process: Process) -> TokenTable:
        return self._store(settings, process)

    def repair(self) -> None: ...

    @property
    def tokens(self) -> tuple[int, Mapping[bytes, int | None]]:
        return self._database.token_changes, dict(self._database.tokens)

    def _store(self, settings: Settings, process: Process, observer: ConnectionObserver = NO_OBSERVER) -> MySQLStore:
        self._clients[process] = Client(lambda _: self._mysql)
        kind = OrderedMySQLStore if self.stream else MySQLStore
        return kind(
            self._mysql_servers(settings, process),
            connections_max=settings.store_connections_max,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            commit_timeout_seconds=settings.commit_timeout_seconds,
            now_us=unix_us,
            observer=observer,
        )

    def retention(self, settings: Settings, metrics: Metrics, process: Process) -> RetentionScheduler | None:
        servers, connect_seconds = self._mysql_servers(settings, process), settings.connect_timeout_seconds
        return make_retention(
            settings, metrics, partial(PartitionedTable.open, servers, connect_seconds, RETENTION_QUERY_SECONDS)
        )

    def new_removed(self) -> Sequence[Removed]:
        removed, self._database.removed = self._database.removed, []
        return removed

    def new_forgotten(self) -> Sequence[Forgotten]:
        forgotten, self._database.forgotten = self._database.forgotten, []
        return forgotten

    def due(self, now_us: int) -> str | None:
        return due(self._database, self.retention_days, now_us) if self.retention_days else None

    def publisher(self, settings: Settings, metrics: Metrics, held: Held, process: Process) -> Publisher:
        if not self._queue:
            self._queue = settings.queue
            self._loop.in_world(self._listen)
        if self.stream:
            lock = mysql_lock(self._mysql_servers(settings, process), "streams", settings.connect_timeout_seconds)
            topology = StreamTopology(settings.queue, 1, 0, 0, settings.broker_url, lock)
            return StreamPublisher(
                settings.stream_url,
                topology,
                metrics.broker,
                held,
                confirm_timeout_seconds=settings.confirm_timeout_seconds,
                connect_timeout_seconds=settings.connect_timeout_seconds,
                reconnect_seconds_max=settings.reconnect_seconds_max,
            )
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

    def _listen(self) -> None:
        self._network.listen("broker", 5672, self._broker)
        self._network.listen("broker", 5552, self._broker.streams_listener)

    def _mysql_servers(self, settings: Settings, process: Process) -> MySQLServers:
        connect = self._clients[process].connect
        return MySQLServers.parse(settings.database_url, current_reads=self.stream, connect=connect)

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

    def is_in_outbox(self, event_id: int) -> bool:
        return any(event_id in batch.ids for batch in self._database.outbox())

    @property
    def dead(self) -> Mapping[int, bytes]:
        return self._database.dead

    def is_published(self, event_id: int, payload: bytes) -> bool:
        if self._database.published_before.get(event_id) == payload:
            return True
        if self._safe.get(event_id) != payload:
            self._safe.look(self._broker, self._queue)
        return self._safe.get(event_id) == payload

    def new_settled(self) -> Sequence[Batch]:
        settled, self._database.settled = self._database.settled, []
        return settled

    def new_messages(self) -> Sequence[tuple[int, bytes]]:
        new: Sequence[Entry | Message]
        if self.stream:
            found = self._broker.streams.get(self._queue)
            count = found.next_offset if found else 0
            new = found.entries_from(self._seen) if found and count > self._seen else ()
        else:
            messages = self._broker.messages(self._queue)
            count, new = len(messages), messages[self._seen :]
        self._seen = count
        return [read(one) for one in new]

    def all_messages(self) -> Sequence[tuple[int, bytes]]:
        return [read(one) for one in self._messages()]

    def _messages(self) -> Sequence[Entry | Message]:
        if self.stream:
            found = self._broker.streams.get(self._queue)
            return found.entries if found else ()
        return self._broker.messages(self._queue)

    def new_excused(self) -> set[bytes]:
        lost, self._database.lost = self._database.lost, set()
        return lost

    @property
    def defect(self) -> Exception | None:
        return self._mysql.defect or self._broker.defect

    def faults(self) -> Mapping[str, ServerFault]:
        mysql, broker = self._mysql, self._broker
        of_broker = {
            "rabbitmq is away": ServerFault(0.10, 6.0, broker.crash, broker.start),
            "rabbitmq stops": ServerFault(0.05, 6.0, broker.stop, broker.start),
            "rabbitmq freezes": ServerFault(0.06, 4.0, broker.freeze, broker.thaw),
            "rabbitmq has an alarm": ServerFault(0.05, 4.0, broker.block, broker.unblock),
        }
        if self.keeps_order:
            return of_broker
        return of_broker | {
            "mysql is away": ServerFault(0.12, 6.0, mysql.crash, mysql.start),
            "mysql freezes": ServerFault(0.10, 4.0, mysql.freeze, mysql.thaw),
            "mysql restarts": ServerFault(0.08, 0.1, mysql.restart, _nothing),
            "mysql is read-only": ServerFault(0.05, 4.0, lambda: self._read_only(on=True), self._writable),
            "mysql refuses all": ServerFault(0.05, 4.0, lambda: self._refuse(UNLISTED), lambda: self._refuse(0)),
            "mysql fails over": ServerFault(0.03, 0.1, self._fail_over, _nothing),
        }

    def lose_slots(self) -> None:
        self.slots_lost = True
        self._mysql.restart()
        self._database.empty("ingest_slots")

    def end_faults(self) -> None:
        self._mysql.rates = CALM_STATEMENTS
        self._broker.rates = CALM_CONFIRMS

    def _refuse(self, number: int) -> None:
        self._mysql.refuses_writes = number

    def _read_only(self, *, on: bool) -> None:
        self._mysql.read_only = on

    def _writable(self) -> None:
        self._read_only(on=False)

    def _fail_over(self) -> None:
        self.went_back = True
        self._mysql.fail_over(1 + self._chance.pick("commits that a failover loses", LOST_COMMITS_MAX))


def drops_days(chance: Chance) -> bool:
    return chance.pick("retention", RETENTION_WORLDS) == RETENTION_WORLDS - 1


def _nothing() -> None: ...

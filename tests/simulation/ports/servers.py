"""The database and the broker of a world, as models at the service's two ports."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from ingest.auth.tokens import TokenTable
from ingest.broker.base import Held, Publisher
from ingest.clock import unix_us
from ingest.events.batch import Batch
from ingest.settings import Settings
from ingest.store.base import Store
from ingest.telemetry.metrics import Metrics
from tests.simulation.chance import Chance
from tests.simulation.machine.loop import Process
from tests.simulation.ports.broker import Broker, ModelPublisher
from tests.simulation.ports.database import Database
from tests.simulation.ports.store import ModelStore
from tests.simulation.servers import Forgotten, Removed, ServerFault


class PortServers:
    """Implements `tests.simulation.servers.Servers`."""

    marks: Sequence[str] = ("poison", "riddle", "unroutable")
    stream = False
    went_back = False
    slots_lost = False
    keeps_order = False
    defect: Exception | None = None
    retention_days = 0
    archives = False

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._database = Database()
        self._broker = Broker()
        self._seen_messages = 0

    def store(self, settings: Settings, metrics: Metrics, process: Process) -> Store:
        return ModelStore(self._database, self._chance, unix_us, settings.commit_timeout_seconds)

    def publisher(self, settings: Settings, metrics: Metrics, held: Held, process: Process) -> Publisher:
        return ModelPublisher(self._broker, self._chance, settings.confirm_timeout_seconds)

    def operator(self, settings: Settings, process: Process) -> TokenTable:
        return ModelStore(self._database, self._chance, unix_us, settings.commit_timeout_seconds)

    @property
    def takes_all(self) -> bool:
        return self._database.takes_all

    def repair(self) -> None:
        self._database.takes_all = True

    @property
    def tokens(self) -> tuple[int, Mapping[bytes, int | None]]:
        database = self._database
        return database.token_changes, {token.digest: token.expires_us for token in database.tokens.values()}

    def retention(self, settings: Settings, metrics: Metrics, process: Process) -> None: ...

    def new_removed(self) -> Sequence[Removed]:
        return ()

    def new_forgotten(self) -> Sequence[Forgotten]:
        return ()

    def due(self, now_us: int) -> None: ...

    def process_ended(self, process: Process) -> None: ...

    @property
    def rows(self) -> Mapping[bytes, Sequence[int]]:
        return self._database.payloads

    @property
    def entries(self) -> Collection[int]:
        return self._database.entries

    def is_in_outbox(self, event_id: int) -> bool:
        return any(event_id in entry.batch.ids for entry in self._database.entries.values())

    @property
    def dead(self) -> Mapping[int, bytes]:
        letters = self._database.dead
        return {one: letter.batch.events[0].payload for one, letter in letters.items() if letter.batch}

    def is_published(self, event_id: int, payload: bytes) -> bool:
        return self._broker.confirmed.get(event_id) == payload

    def new_settled(self) -> Sequence[Batch]:
        settled, self._database.settled = self._database.settled, []
        return settled

    def new_messages(self) -> Sequence[tuple[int, bytes]]:
        new = self._broker.messages[self._seen_messages :]
        self._seen_messages += len(new)
        return new

    def all_messages(self) -> Sequence[tuple[int, bytes]]:
        return self._broker.messages

    def new_excused(self) -> set[bytes]:
        return set()

    def faults(self) -> Mapping[str, ServerFault]:
        database, broker = self._database, self._broker

        def setting(model: object, name: str, value: object, after: object) -> dict[str, partial[None]]:
            return {"begin": partial(setattr, model, name, value), "end": partial(setattr, model, name, after)}

        return {
            "database is away": ServerFault(0.15, 6.0, **setting(database, "down", True, False)),
            "database hangs": ServerFault(0.10, 4.0, **setting(database, "hangs", True, False)),
            "database is slow": ServerFault(0.10, 4.0, **setting(database, "slow_seconds", 0.4, 0.0)),
            "database refuses all": ServerFault(0.08, 4.0, **setting(database, "refuses", True, False)),
            "broker is away": ServerFault(0.12, 8.0, **setting(broker, "down", True, False)),
            "broker freezes": ServerFault(0.06, 6.0, **setting(broker, "frozen", True, False)),
        }

    def lose_slots(self) -> None:
        self.slots_lost = True
        self._database.slots.clear()

    def end_faults(self) -> None: ...

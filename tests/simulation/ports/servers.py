"""The database and the broker of a world, as models at the service's two ports."""

from ingest.broker.base import Held, Publisher
from ingest.clock import unix_us
from ingest.settings import Settings
from ingest.store.base import Store
from ingest.telemetry.metrics import Metrics
from tests.simulation.chance import Chance
from tests.simulation.ports.broker import Broker, ModelPublisher
from tests.simulation.ports.database import Database
from tests.simulation.ports.store import ModelStore


class PortServers:
    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.database = Database()
        self.broker = Broker()

    def store(self, settings: Settings, metrics: Metrics) -> Store:
        return ModelStore(self.database, self._chance, unix_us, settings.commit_timeout_seconds)

    def publisher(self, settings: Settings, metrics: Metrics, held: Held) -> Publisher:
        return ModelPublisher(self.broker, self._chance, settings.confirm_timeout_seconds)

"""The service with a table that already holds many rows."""

import time

from bench.harness.cpu import Components
from bench.harness.filling import fill
from bench.harness.targets import Servers, Service
from ingest.events.ids import EPOCH_MS, SEQUENCE_BITS, SLOT_BITS

NEWER = "SELECT COUNT(*) FROM call_event_logs WHERE id >= "


class Grown:
    """A target: a service whose rows stay from round to round."""

    def __init__(self, service: Service, servers: Servers) -> None:
        self.port, self.token = service.port, service.token
        self._service = service
        self._servers = servers
        self._before = 0
        self._since = 0

    @property
    def held(self) -> int:
        """The number of all rows. It is not queried, as a count would read the table into the buffer pool."""
        return self._before + self.rows()

    def fill(self, rows: int) -> float:
        """Replace all rows by `rows` new ones, and return the seconds it took."""
        self._service.clear()
        self._before, self._since = rows, first_id_now()
        return fill(self._servers.mysql, self._service.database, rows) if rows else 0.0

    def components(self) -> Components:
        return self._service.components()

    def drain(self) -> None:
        self._service.drain()

    def rows(self) -> int:
        """Count the rows since the last `clear`, by their ids."""
        return int(self._servers.mysql.query(f"{NEWER}{self._since}", self._service.database)[0][0])

    def clear(self) -> None:
        """Keep the rows, but no longer count them in `rows`."""
        self._before += self.rows()
        self._since = first_id_now()
        self._service.purge()


def first_id_now() -> int:
    """Return the smallest id of this millisecond: all later ids are larger."""
    return (time.time_ns() // 1_000_000 - EPOCH_MS) << SLOT_BITS + SEQUENCE_BITS

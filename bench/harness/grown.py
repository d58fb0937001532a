"""The service before a table that was full of rows already."""

import time

from bench.harness.cpu import Components
from bench.harness.filling import fill
from bench.harness.targets import Servers, Service
from ingest.events.ids import EPOCH_MS, SEQUENCE_BITS, SLOT_BITS

NEWER = "SELECT COUNT(*) FROM call_event_logs WHERE id >= "


class Grown:
    """A service as a target whose rows stay from round to round."""

    def __init__(self, service: Service, servers: Servers) -> None:
        self.port, self.token = service.port, service.token
        self._service = service
        self._servers = servers
        self._before = 0
        self._since = 0

    @property
    def held(self) -> int:
        """All rows. Not counted, as that would read the table into memory."""
        return self._before + self.rows()

    def fill(self, rows: int) -> float:
        """Make it just so many rows; the seconds it took."""
        self._service.clear()
        self._before, self._since = rows, first_id_now()
        return fill(self._servers.mysql, self._service.database, rows) if rows else 0.0

    def components(self) -> Components:
        return self._service.components()

    def drain(self) -> None:
        self._service.drain()

    def rows(self) -> int:
        """Those since the last `clear`: ids tell the time."""
        return int(self._servers.mysql.query(f"{NEWER}{self._since}", self._service.database)[0][0])

    def clear(self) -> None:
        """The rows stay, but are counted no more."""
        self._before += self.rows()
        self._since = first_id_now()
        self._service.purge()


def first_id_now() -> int:
    """The smallest id of this millisecond, and so of all that are made from now on."""
    return (time.time_ns() // 1_000_000 - EPOCH_MS) << SLOT_BITS + SEQUENCE_BITS

"""Attacks on a service, and the checks that it is unharmed afterwards."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.raw_http import RawConnection, Reply, post
from tests.running import ServiceProcess
from tests.unit.making import body

MIB = 1 << 20
GROWTH_BYTES_MAX = 32 * MIB


class GoodClient:
    """A well-behaved client on one connection. The service must accept all of its events."""

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection
        self.accepted = 0

    def ask(self) -> None:
        self._connection.send(post(body(call_id="good", number=self.accepted)))
        assert self._connection.reply().status == 200
        self.accepted += 1


@contextmanager
def unharmed(service: ServiceProcess, growth_bytes_max: int = GROWTH_BYTES_MAX) -> Iterator[GoodClient]:
    """Check that attacks inside the block do no harm.

    Afterwards the service has the same worker, about the same memory and no error in its log. It has stored all events
    of the good client.
    """
    (worker,) = service.worker_pids()
    before, stored, logged = resident_bytes(worker), count_of(service, "good"), len(service.log())
    with RawConnection(service.port) as connection:
        client = GoodClient(connection)
        client.ask()
        yield client
        client.ask()
    assert service.worker_pids() == [worker]
    assert resident_bytes(worker) - before < growth_bytes_max
    assert "Traceback" not in service.log()[logged:]
    assert count_of(service, "good") - stored == client.accepted


def resident_bytes(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def peak_resident_bytes(pid: int) -> int:
    """The peak resident memory of the process."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def count_of(service: ServiceProcess, call_id: str) -> int:
    path = Path(service.environment["INGEST_DATABASE_URL"].removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT COUNT(*) FROM call_event_logs WHERE call_id = ?", (call_id,)).fetchone()
    return int(count)


def reveals_nothing(reply: Reply) -> bool:
    """True if the response is not a 5xx and reveals no internals."""
    return reply.status < 500 and b"Traceback" not in reply.body and b'.py"' not in reply.body

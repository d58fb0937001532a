"""A move from the real Laravel original to the service, back, and there again, by the commands of the document."""

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from urllib.request import urlopen

import msgspec
from pika.exceptions import ChannelClosedByBroker

from bench.harness.targets import Servers, broker_channel
from bench.peers.original import Form, Original, original
from bench.peers.stand import Stand
from ingest.events.batch_codec import unpack_one
from tests.documents import Block
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.load import Load
from tests.migration.reader import Reader, end, steps
from tests.running import TOKEN
from tests.services import free_port, wait_until
from tests.services.rabbitmq import accepts
from tests.services.sandbox import Sandbox, log_tail

MEANWHILE = "call_events_meanwhile"
SEED = """INSERT INTO call_event_logs (call_id, event_type, payload, created_time)
    WITH RECURSIVE n AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 999)
    SELECT CONCAT('seed-', {first} + n), 'call_ended', JSON_OBJECT('call_id', CONCAT('seed-', {first} + n),
    'event_type', 'call_ended', 'from_number', '+994501234567', 'to_number', '+994701234567', 'duration', 40,
    'timestamp', '2025-11-30T10:00:00Z'), NOW() - INTERVAL {back} SECOND FROM n"""
SEEDED_AT_ONCE = 1000
JOBS = "SELECT COUNT(*) FROM jobs"
FAILED_JOBS = "SELECT COUNT(*) FROM failed_jobs"
DEAD = "SELECT reason, COUNT(*) FROM ingest_dead_letters GROUP BY reason"
OUTBOX = "SELECT COUNT(*) FROM ingest_outbox"
CALLS = "SELECT call_id, COUNT(*) FROM call_event_logs WHERE call_id NOT LIKE 'seed-%' GROUP BY call_id"
SEEDS = "SELECT COUNT(*), COUNT(DISTINCT call_id) FROM call_event_logs WHERE call_id LIKE 'seed-%'"
FAILED = 2
RUNS = 4
"""There, back in two steps, and there again: each is in the audit trail."""
READY_SECONDS = 60.0
DRAIN_SECONDS = 300.0
STATUS_SECONDS = 2.0
QUIET_SECONDS = 0.5
CONNECTIONS = 4


class Size(msgspec.Struct, frozen=True):
    rows: int
    jobs: int
    events_per_second: float
    seconds: float
    """Time under load at each of the services, beside the time of the commands."""
    stride: int
    """A death is tried before each statement of this distance."""


SHORT = Size(rows=3000, jobs=150, events_per_second=20, seconds=1.5, stride=23)
LONG = Size(rows=1_000_000, jobs=10_000, events_per_second=50, seconds=20, stride=1)


class Outcome(msgspec.Struct):
    """The comparison of the ledger with the table and the queue, at the end."""

    answered: int
    refused: int
    unknown: int
    rows_lost: int
    rows_doubled: int
    seeds: int
    messages: int
    messages_lost: int
    messages_doubled: int
    failed_jobs: int
    """Jobs that the original's worker gave up before each move."""
    dead_letters: dict[str, int]
    """Reason → number."""
    longest_seconds: dict[str, float]
    """The slowest answer in each part of the journey."""
    seconds: dict[str, float]
    """Duration of each command that changed something."""


class Journey:
    """`run` does the whole move, by the blocks of the document."""

    def __init__(self, servers: Servers, size: Size, form: Form, box: Sandbox) -> None:
        self._servers = servers
        self._size = size
        self._form = form
        self._box = box
        self._stand = self._make_stand()
        self._meanwhile = f"{self._stand.database}_meanwhile"
        self.port = free_port()
        self._ports = {"ingest": free_port(), "meanwhile": free_port()}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._failed_jobs = 0
        self._seconds: dict[str, float] = {}
        self._longest: dict[str, float] = {}
        self._reader = Reader(box.folder("reader"), self._addresses(), {"INGEST_HOST": "127.0.0.1"})
        self._blocks = iter(steps())

    def _make_stand(self) -> Stand:
        rabbitmq = self._servers.rabbitmq
        url = self._servers.mysql.fresh_database()
        return Stand(self._servers, url, rabbitmq.amqp_url, rabbitmq.fresh_queue_name(), free_port())

    def _addresses(self) -> Mapping[str, str]:
        stand, mysql = self._stand, self._servers.mysql
        return {
            f"mysql://laravel:secret@db:3306/{MEANWHILE}": mysql.url_of(self._meanwhile),
            "mysql://laravel:secret@db:3306/laravel": stand.database_url,
            "amqp://guest:guest@mq:5672/": stand.amqp_url,
            "INGEST_QUEUE=call-events": f"INGEST_QUEUE={stand.queue}",
            "the-token-of-your-clients": TOKEN,
            "/run/haproxy.sock": str(self._box.path / "haproxy.sock"),
            "bind :8000": f"bind 127.0.0.1:{self.port}",
            "127.0.0.1:8001": f"127.0.0.1:{stand.port}",
            "127.0.0.1:8002": f"127.0.0.1:{self._ports['ingest']}",
            "127.0.0.1:8003": f"127.0.0.1:{self._ports['meanwhile']}",
            "INGEST_PORT=8002": f"INGEST_PORT={self._ports['ingest']}",
            "INGEST_PORT=8003": f"INGEST_PORT={self._ports['meanwhile']}",
            MEANWHILE: self._meanwhile,
        }

    def run(self) -> Outcome:
        with original(self._stand, self._form) as laravel, self._balancer():
            worker = laravel.start_worker()
            self._seed()
            with Load(self.port, self._size.events_per_second, CONNECTIONS) as load:
                assert wait_until(self._has_message, READY_SECONDS)  # the original has declared its queue
                worker = self._pile_up(laravel, worker)
                self._stay("at the original", load.ledger)
                self._there(worker)
                self._stay("there", load.ledger)
                self._back()
                worker = laravel.start_worker()
                self._to_the_original()
                self._stay("back", load.ledger)
                self._again(worker)
                self._stay("again", load.ledger)
            return self._compare(load.ledger)

    @contextmanager
    def _balancer(self) -> Iterator[None]:
        file = self._box.path / "haproxy.cfg"
        file.write_text(self._reader.text(next(self._blocks)))
        process = self._box.spawn(["/usr/sbin/haproxy", "-db", "-f", str(file)], self._box.path / "haproxy.log")
        assert wait_until(lambda: accepts(self.port), READY_SECONDS), log_tail(self._box.path / "haproxy.log")
        try:
            yield
        finally:
            for name in [*self._processes]:
                self._stop(name)
            process.terminate()

    def _seed(self) -> None:
        for number, first in enumerate(range(0, self._size.rows, SEEDED_AT_ONCE)):
            back = (self._size.rows // SEEDED_AT_ONCE - number) * 10
            self._servers.mysql.query(SEED.format(first=first, back=back), self._stand.database)

    def _pile_up(self, laravel: Original, worker: "subprocess.Popen[bytes]") -> "subprocess.Popen[bytes]":
        """Leave unsent jobs, and some failed ones, while events arrive. Then a worker runs again."""
        worker.send_signal(signal.SIGTERM)
        worker.wait(READY_SECONDS)
        laravel.artisan("call-events:queue", "failing", str(FAILED))
        nowhere = {"APP_CONFIG_CACHE": str(self._box.path / "no-cache.php"), "AMQP_URL": "amqp://a:a@127.0.0.1:1/"}
        before = self._count(FAILED_JOBS)
        while self._count(FAILED_JOBS) < before + FAILED:
            laravel.artisan("queue:work", "--queue=call-events", "--once", "--tries=1", **nowhere)
        for part in range(0, self._size.jobs, SEEDED_AT_ONCE):
            laravel.artisan("call-events:queue", f"pending-{part}", str(min(SEEDED_AT_ONCE, self._size.jobs - part)))
        return worker

    def _there(self, worker: "subprocess.Popen[bytes]") -> None:
        self._reader.take_settings(next(self._blocks))
        self._do("plan")
        prepare = next(self._blocks)
        self._serve("ingest", prepare)
        self._do("switch to the service")
        assert worker.poll() is not None
        self._failed_jobs += self._count(FAILED_JOBS)
        said = self._do("adopt")
        assert "FAIL" not in said, said

    def _back(self) -> None:
        self._serve("meanwhile", next(self._blocks))
        self._do("switch to the second process")
        self._drained("ingest", self._stand.database)
        self._stop("ingest")
        self._do("back")

    def _to_the_original(self) -> None:
        self._do("switch to the original")
        self._drained("meanwhile", self._meanwhile)
        self._stop("meanwhile")
        self._do("back from the second database")

    def _again(self, worker: "subprocess.Popen[bytes]") -> None:
        """The same commands as the first time, with the worker ended in the midst of its jobs."""
        _, _, plan, prepare, switch, adopt, *_ = steps()
        self._reader.run(plan)
        self._serve("ingest", prepare)
        self._reader.run(switch)
        worker.send_signal(signal.SIGTERM)
        worker.wait(READY_SECONDS)
        self._failed_jobs += self._count(FAILED_JOBS)
        started = time.monotonic()
        self._reader.run(adopt)
        self._seconds["adopt again"] = time.monotonic() - started

    def _do(self, name: str) -> str:
        started = time.monotonic()
        said = self._reader.run(next(self._blocks))
        self._seconds[name] = round(time.monotonic() - started, 1)
        return said

    def _serve(self, name: str, block: Block) -> None:
        self._processes[name] = self._reader.start(block)
        ready = wait_until(lambda: self._status(name) in ("ready", "degraded"), READY_SECONDS)
        assert ready, [log_tail(log) for log in self._reader.folder.glob("*.log")]

    def _status(self, name: str) -> str | None:
        with (
            suppress(OSError, ValueError),
            urlopen(f"http://127.0.0.1:{self._ports[name]}/readyz", timeout=2) as answer,
        ):
            return str(json.load(answer)["status"])
        return None

    def _drained(self, name: str, database: str) -> None:
        assert wait_until(lambda: self._status(name) == "ready", READY_SECONDS), self._status(name)
        assert wait_until(lambda: self._count(OUTBOX, database) == 0, DRAIN_SECONDS)

    def _stop(self, name: str) -> None:
        if process := self._processes.pop(name, None):
            end(process)

    def _stay(self, part: str, ledger: Ledger) -> None:
        """Let the load go on for the time of the size, and end this part of the journey."""
        until = time.monotonic() + self._size.seconds
        wait_until(lambda: time.monotonic() >= until, self._size.seconds + 1)
        self._longest[part], ledger.longest_seconds = round(ledger.longest_seconds, 3), 0.0

    def _has_message(self) -> bool:
        with broker_channel(self._servers.rabbitmq) as channel, suppress(ChannelClosedByBroker):
            return self._stand.depth(channel) > 0
        return False

    def _count(self, sql: str, database: str | None = None) -> int:
        return int(self._servers.mysql.query(sql, database or self._stand.database)[0][0])

    def _compare(self, ledger: Ledger) -> Outcome:
        """Wait until everything is stored and published, and compare it with the ledger."""
        self._drained("ingest", self._stand.database)
        dead = set(_calls(self._dead_letters()))
        rows: dict[str, int] = dict(self._servers.mysql.query(CALLS, self._stand.database))
        recorded = "SELECT COUNT(*) FROM ingest_audit WHERE action = 'events.adopt'"
        assert self._count(recorded) == RUNS
        seeds, different = self._servers.mysql.query(SEEDS, self._stand.database)[0]
        copies = Counter(_calls(self._messages()))
        expected = {*ledger.ok, *(f"pending-{part}-{n}" for part, n in self._pending())}
        expected |= {f"failing-{number}" for number in range(FAILED)}
        return Outcome(
            answered=len(ledger.ok),
            refused=len(ledger.refused),
            unknown=len(ledger.unknown) + ledger.unreached,
            rows_lost=len(expected - rows.keys()),
            rows_doubled=sum(count > 1 for count in rows.values()) + seeds - different,
            seeds=seeds,
            messages=sum(copies.values()),
            messages_lost=len(expected - dead - copies.keys()),
            messages_doubled=sum(copies.values()) - len(copies),
            failed_jobs=self._failed_jobs,
            dead_letters=dict(self._servers.mysql.query(DEAD, self._stand.database)),
            longest_seconds=self._longest,
            seconds=self._seconds,
        )

    def _pending(self) -> Iterator[tuple[int, int]]:
        for part in range(0, self._size.jobs, SEEDED_AT_ONCE):
            for number in range(min(SEEDED_AT_ONCE, self._size.jobs - part)):
                yield part, number

    def _dead_letters(self) -> Iterator[bytes]:
        for (packed,) in self._servers.mysql.query("SELECT batch FROM ingest_dead_letters", self._stand.database):
            batch = unpack_one(packed)
            assert batch is not None
            yield from (event.payload for event in batch.events)

    def _messages(self) -> Sequence[bytes]:
        taken: list[bytes] = []
        with broker_channel(self._servers.rabbitmq) as channel:
            while channel.queue_declare(self._stand.queue, passive=True).method.message_count:
                for method, _, body in channel.consume(self._stand.queue, inactivity_timeout=QUIET_SECONDS):
                    if method is None:
                        break
                    taken.append(body)
                    channel.basic_ack(method.delivery_tag)
                channel.cancel()
        return taken


def _calls(messages: Iterable[bytes]) -> Iterator[str]:
    for body in messages:
        yield str(json.loads(body)["call_id"])


@contextmanager
def journey(servers: Servers, size: Size, form: Form) -> Iterator[Journey]:
    with closing(Sandbox("migration")) as box:
        yield Journey(servers, size, form, box)

"""One life of a worker: the service's own parts, wired by the service's own code, in a simulated process."""

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from ingest.clock import jittered, unix_us
from ingest.events.batch import Batch
from ingest.files.locks import take_worker_index
from ingest.http.rsgi import Handler
from ingest.retention.idempotency_keys import KeyCleaner
from ingest.server.factories.broker import make_shared_target
from ingest.server.factories.handlers import make_handlers
from ingest.server.pipeline import Pipeline
from ingest.server.wiring import build_pipeline
from ingest.server.worker import Worker
from ingest.settings import Settings
from ingest.tasks import BackgroundTask
from tests.simulation.machine.loop import SimulatedLoop
from tests.simulation.machine.metric_files import MetricFiles
from tests.simulation.machine.nodes import Node, WorkerProcess
from tests.simulation.servers import IDEMPOTENCY_SECONDS, RETENTION_SECONDS, Servers
from tests.simulation.subjects.ids import Ids
from tests.simulation.subjects.outages import CommitWatch
from tests.simulation.subjects.repeats import Repeats, Sender
from tests.simulation.subjects.settling import SettleWatch
from tests.simulation.subjects.tokens import CONFIGURED, TokenReads


class Limits(msgspec.Struct, frozen=True):
    """Settings that differ between worlds."""

    spool_bytes_max: int = 1 << 24
    writers: int = 2
    batch_events_max: int = 40
    queue_events_max: int = 400
    inflight_events_max: int = 300
    drain_seconds: float = 4.0
    retention_days: int = 0
    archive: str = ""
    stream: bool = False
    """Events go to a stream, each once and in the order of their calls."""


def settings_of(node: Node, limits: Limits) -> Settings:
    """Short times make a schedule short. Their proportions are those of the defaults."""
    return Settings(
        database_url="mysql://sim:sim@database:3306/ingest",
        broker_url="amqp://sim:sim@broker:5672/",
        publish_to="stream" if limits.stream else "queue",
        stream_url="rabbitmq-stream://sim:sim@broker:5552/" if limits.stream else "",
        body_bytes_max=100_000,
        api_tokens=CONFIGURED,
        data_dir=node.folder,
        workers=1,
        batch_events_max=limits.batch_events_max,
        queue_events_max=limits.queue_events_max,
        store_connections_max=limits.writers,
        commit_timeout_seconds=1.0,
        spool_bytes_max=limits.spool_bytes_max,
        spool_free_bytes_min=1 << 20,
        spool_after_seconds=0.25,
        spool_poll_seconds=0.5,
        confirm_timeout_seconds=2.0,
        publish_inflight_events_max=limits.inflight_events_max,
        lease_seconds=4.0,
        relay_poll_seconds=0.5,
        relay_entries_max=64,
        reconnect_seconds_max=1.0,
        dead_letter_seconds=20.0,
        drain_timeout_seconds=limits.drain_seconds,
        retention_days=limits.retention_days,
        retention_archive=limits.archive,
        retention_check_seconds=RETENTION_SECONDS,
        idempotency_seconds=IDEMPOTENCY_SECONDS,
    )


async def _forget_keys(cleaner: KeyCleaner) -> None:
    """The service does this every minute, and a schedule is shorter."""
    while True:
        await asyncio.sleep(jittered(RETENTION_SECONDS))
        await cleaner.forget_all()


class Life:
    """A worker from its start to its death. A later life on the same node continues its metrics, as files would."""

    def __init__(
        self,
        loop: SimulatedLoop,
        process: WorkerProcess,
        limits: Limits,
        servers: Servers,
        metrics: MetricFiles,
        breaks: Callable[[str], None],
        repeats: Repeats,
        ids: Ids,
    ) -> None:
        """`breaks` gets a promise that is broken."""
        self.process = process
        self.settings = settings_of(process.node, limits)
        self.accepting = False
        self.was_stopped = False
        self.handlers: dict[str, Handler] = {}
        self.pipeline: Pipeline | None = None
        self.connections: dict[asyncio.Future[tuple[int, bytes]], None] = {}
        """Those of clients that wait for an answer."""
        self.requests: list[asyncio.Task[None]] = []
        self.token_reads = TokenReads(loop, process.node, lambda: servers.tokens)
        self._loop = loop
        self._servers = servers
        self._metrics = metrics
        self._breaks = breaks
        self._repeats = repeats
        self._ids = ids
        self._worker: Worker | None = None
        self._began_us = 0

    async def start(self) -> None:
        settings = self.settings
        self._began_us = unix_us()
        index = take_worker_index(settings.run_dir)
        metrics = self._metrics.of(settings.run_dir / "metrics", index.number)
        store = self._servers.store(settings, metrics, self.process)
        self.token_reads.watch(store)
        if settings.spool_bytes_max:
            failing = metrics.commits_failing
            failing.set(0)  # it is a new process
            CommitWatch(store, lambda: failing._value.get() == 1, self._loop.time, self._breaks)
        SettleWatch(store, lambda: self.accepting and self._is_well(), self._breaks)
        shared_target = make_shared_target(settings, store)
        publisher = self._servers.publisher(settings, metrics, shared_target.problem, self.process)
        if not self._servers.stream:
            self._repeats.watch(Sender(self.process.name, self._is_well, self._has_accepted), publisher)
        pipeline = build_pipeline(settings, store, publisher, metrics, index.number, None, shared_target)
        pipeline.locks.add(lambda: index.lock)
        self._ids.watch(self.process, pipeline.batcher, store)

        async def recover() -> None:
            await metrics.durable_counters.recover(store.count_rows, 2 * settings.commit_timeout_seconds)

        background: dict[str, BackgroundTask] = {"ledger": recover}
        if retention := self._servers.retention(settings, metrics, self.process):
            background["retention"] = retention.run
            background["old keys"] = partial(_forget_keys, pipeline.key_cleaner)
        self._worker = Worker(pipeline, background, unix_us, settings.drain_timeout_seconds)
        await self._worker.start()
        self.handlers = make_handlers(settings, pipeline)
        self.pipeline = pipeline
        self.accepting = True

    def _is_well(self) -> bool:
        return self.process.alive and not self.was_stopped

    def _has_accepted(self, batch: Batch) -> bool:
        """Tell it by the clock. If somebody has set that, nobody knows."""
        return self.process.node.clock_stepped_at < 0 and batch.created_us >= self._began_us

    @property
    def unanswered(self) -> int:
        """Requests whose handler has not ended, also those whose client has given up."""
        return sum(not request.done() for request in self.requests)

    async def stop(self) -> None:
        """Stop as after SIGTERM."""
        if self._worker:
            await self._worker.stop()
        self.accepting = False

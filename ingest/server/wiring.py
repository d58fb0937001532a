"""Makes a worker's parts of its settings: the only place that knows every adapter. Nothing is connected yet."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import uuid4

from ingest.auth.authenticator import Authenticator
from ingest.auth.token_refresh import TokenRefresher
from ingest.broker.amqp.publisher import AmqpPublisher
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.broker.base import Held, Publisher, not_held
from ingest.broker.embedded import FILE_NAME, EmbeddedPublisher
from ingest.broker.target_record import SharedTarget, target_of
from ingest.clock import unix_us
from ingest.errors import SettingsError
from ingest.events.headers import MessageHeaders
from ingest.events.idempotency import Keys
from ingest.events.ids import LEASED_SLOTS_MAX
from ingest.files.exclusive_lock import ExclusiveLock, file_lock
from ingest.files.lock_watch import LockWatch
from ingest.http.admission import Admission
from ingest.http.body_reader import BodyReader
from ingest.http.rsgi import Handler, Headers
from ingest.http.trace_context import propagate_trace_context
from ingest.outbox.backlog import BacklogWatch
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.outbox.settler import Settler
from ingest.pipeline.batcher import Batcher, BatcherLimits
from ingest.pipeline.commit_target import BatchStore, CommitTarget
from ingest.pipeline.committer import Committer, CommitterLimits
from ingest.pipeline.id_lease import IdLease
from ingest.pipeline.identity import RESTART_SECONDS, Identity
from ingest.retention.idempotency_keys import KeyCleaner
from ingest.retention.scheduler import RetentionKeeper
from ingest.server.file_owner import act_as_owner
from ingest.server.publishing import Publishing, keeps_order
from ingest.server.worker import Pipeline, SpoolParts
from ingest.settings import Settings
from ingest.spool.adoption import Adoption
from ingest.spool.drainer import Drainer
from ingest.spool.files import take_spool
from ingest.spool.health import SpoolWatch
from ingest.spool.records import SpoolLimits
from ingest.spool.store import SpoolStore
from ingest.sqlite import connect, connect_to_look, file_of
from ingest.status.health import Health
from ingest.store.base import Store
from ingest.store.mysql.lock import mysql_lock
from ingest.store.mysql.order import OrderedMySQLStore
from ingest.store.mysql.partitioning.partitions import PartitionedTable
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.store import MySQLStore
from ingest.store.sqlite.store import SQLiteStore
from ingest.telemetry.clock_skew import ClockWatch
from ingest.telemetry.connection_metrics import NO_OBSERVER, ConnectionObserver
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import COMMIT, COMMIT_UNSPOOLED, PUBLISH, Outage

if TYPE_CHECKING:
    from ingest.broker.stream.topology import StreamTopology

T = TypeVar("T")


class Tracing(Protocol):
    """See `ingest.server.tracing`, which only those have who want it."""

    def propagate_trace_context(self, headers: Headers, of_token: MessageHeaders | None) -> MessageHeaders | None: ...
    def store(self, store: BatchStore) -> BatchStore: ...
    def publisher(self, publisher: Publisher) -> Publisher: ...
    def handler(self, handler: Handler) -> Handler: ...
    async def stop(self) -> None: ...


def build_pipeline(
    settings: Settings,
    store: Store,
    publisher: Publisher,
    metrics: Metrics,
    worker_index: int,
    tracing: Tracing | None = None,
    shared_target: SharedTarget | None = None,
) -> Pipeline:
    """`worker_index` is the worker's number on this host (`ingest.files.locks`)."""
    shared_target = shared_target or make_shared_target(settings, store)
    if tracing:
        publisher = tracing.publisher(publisher)
    lost = Outage(PUBLISH, time.monotonic)
    away = Outage(COMMIT if has_spool(settings) else COMMIT_UNSPOOLED, time.monotonic, metrics.commits_failing)
    authenticator = Authenticator(settings.tokens, time.monotonic)
    keys = Keys(natural=settings.idempotency_key == "natural")
    bodies = BodyReader(settings.body_timeout_seconds, time.monotonic)
    dead_letter_policy = DeadLetterPolicy(store, settings.dead_letter_seconds, metrics, unix_us)
    publishing = Publishing(settings, publisher, store, lost, metrics, dead_letter_policy)
    relay = publishing.relay()
    settler = Settler(store)
    database = CommitTarget(tracing.store(store) if tracing else store, settler, relay)
    locks = LockWatch(time.monotonic)
    backlog_watch = BacklogWatch(store, metrics)
    clocks = store.clocks if isinstance(store, MySQLStore) else ClockWatch()
    clocks.show = metrics.clock_apart_seconds.set
    slots = IdLease(settings.data_dir / "slots", store, unix_us)
    locks.add(lambda: slots.lock)
    identity = make_identity(settings, slots, worker_index)
    spool = make_spool(settings, publishing, away, locks, identity)
    dispatcher = publishing.dispatcher(spool.store if spool else None)
    limits = CommitterLimits(
        settings.commit_timeout_seconds, settings.commit_timeout_seconds, settings.spool_after_seconds
    )
    committer = Committer(database, spool.target if spool else None, away, dispatcher, limits, metrics, time.monotonic)
    batcher = Batcher(committer, _batcher_limits(settings), metrics, unix_us, time.monotonic)
    checks = {
        "locks": locks.problem,
        "backlog": backlog_watch.problem,
        "tables": lambda: store.unfinished,
        "cluster": shared_target.problem,
        "clock": clocks.problem,
        "commits": lambda: away.reason,
    }
    if spool:
        checks["spool files"] = spool.watch.trouble
    return Pipeline(
        store=store,
        spool=spool,
        publisher=publisher,
        metrics=metrics,
        bodies=bodies,
        batcher=batcher,
        dispatcher=dispatcher,
        settler=settler,
        relay=relay,
        health=Health(store, spool.watch if spool else None, publisher, metrics, checks, lambda: identity.problem),
        backlog_watch=backlog_watch,
        shared_target=shared_target,
        locks=locks,
        identity=identity,
        authenticator=authenticator,
        key_cleaner=KeyCleaner(store, settings.idempotency_seconds, unix_us),
        token_refresher=TokenRefresher(store, authenticator, settings.run_dir / "tokens", metrics, unix_us),
        admission=Admission(
            authenticator,
            keys,
            metrics,
            tracing.propagate_trace_context if tracing else propagate_trace_context,
        ),
    )


def make_identity(settings: Settings, slots: IdLease, worker_index: int) -> Identity:
    """Where the order counts, events without a slot are refused: what gets its id later is published out of turn."""
    provisional = has_spool(settings) and not keeps_order(settings)
    if provisional:
        return Identity(slots, unix_us, LEASED_SLOTS_MAX + worker_index, 0.0)
    return Identity(slots, unix_us, None, RESTART_SECONDS)


def has_spool(settings: Settings) -> bool:
    """Not where it is off, or no more durable than the database: SQLite is on the same disk."""
    return bool(settings.spool_bytes_max) and not settings.database_url.startswith("sqlite:")


def make_spool(
    settings: Settings, publishing: Publishing, away: Outage, locks: LockWatch, identity: Identity
) -> SpoolParts | None:
    """None where it is not used."""
    if not has_spool(settings):
        return None
    limits = SpoolLimits(
        settings.spool_bytes_max // settings.workers,
        settings.spool_free_bytes_min,
        settings.lease_seconds,
        published_first=keeps_order(settings),
    )

    folder = settings.data_dir / "spool"
    store = SpoolStore(take_spool(folder), settings.commit_timeout_seconds, limits, unix_us)
    locks.add(lambda: store.files.lock)
    relay = publishing.spool_relay(store)
    poll_seconds, metrics = settings.spool_poll_seconds, publishing.metrics
    drainer = Drainer(store, publishing.database, relay, away, poll_seconds, metrics, identity.anew)
    watch = SpoolWatch(store, away, publishing.metrics, unix_us)
    adoption = Adoption(folder, store)
    return SpoolParts(store=store, settler=Settler(store), relay=relay, drainer=drainer, adoption=adoption, watch=watch)


def make_retention(settings: Settings, metrics: Metrics) -> RetentionKeeper | None:
    """None where nothing is dropped but by `ingest retention`."""
    if not (settings.retention_days or settings.retention_bytes_max):
        return None
    return RetentionKeeper(
        partial(PartitionedTable.open, Servers.parse(settings.database_url), settings.connect_timeout_seconds),
        settings.retention_days or None,
        settings.retention_bytes_max or None,
        settings.retention_check_seconds,
        unix_us,
        metrics,
    )


def make_store(settings: Settings, observer: ConnectionObserver = NO_OBSERVER, *, looks_only: bool = False) -> Store:
    """`looks_only`: for a command that changes nothing, and makes no file."""
    if file := file_of(settings.database_url):
        opened = connect_to_look if looks_only else connect
        return SQLiteStore(file, settings.commit_timeout_seconds, unix_us, opened)
    made = OrderedMySQLStore if keeps_order(settings) else MySQLStore
    return made(
        Servers.parse(settings.database_url, current_reads=keeps_order(settings)),
        connections_max=settings.store_connections_max,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        commit_timeout_seconds=settings.commit_timeout_seconds,
        now_us=unix_us,
        observer=observer,
    )


def with_store(settings: Settings, work: Callable[[Store], Awaitable[T]], *, looks_only: bool = False) -> T:
    """What a command does with the database, apart from the service; see `make_store`."""
    act_as_owner(settings, folder=False, writes=not looks_only)

    async def run() -> T:
        store = make_store(settings, looks_only=looks_only)
        await store.start()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def make_publisher(settings: Settings, observer: ConnectionObserver = NO_OBSERVER, held: Held = not_held) -> Publisher:
    if settings.publish_to == "stream":
        from ingest.broker.stream.publisher import StreamPublisher  # rstream is needed in this mode only

        return StreamPublisher(
            settings.stream_url,
            make_topology(settings),
            observer,
            held,
            confirm_timeout_seconds=settings.confirm_timeout_seconds,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            reconnect_seconds_max=settings.reconnect_seconds_max,
        )
    if settings.broker_url == "embedded:":
        return EmbeddedPublisher(
            settings.data_dir / FILE_NAME,
            held,
            events_max=settings.embedded_queue_events_max,
            timeout_seconds=settings.commit_timeout_seconds,
        )
    return AmqpPublisher(
        settings.broker_url,
        QueueDeclaration(settings.queue, settings.queue_type),
        observer,
        held,
        channels_max=settings.channels_max,
        confirm_timeout_seconds=settings.confirm_timeout_seconds,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        reconnect_seconds_max=settings.reconnect_seconds_max,
    )


def make_shared_target(settings: Settings, store: Store) -> SharedTarget:
    """Of this worker with all who share its database."""
    table = store if isinstance(store, MySQLStore) else None
    node = f"{socket.gethostname()}:{settings.port}"
    memory = settings.data_dir / "cluster-settings.json"
    return SharedTarget(table, str(uuid4()), node, target_of(settings), memory, time.monotonic)


def make_topology(settings: Settings) -> "StreamTopology":
    from ingest.broker.stream.topology import StreamTopology

    return StreamTopology(
        settings.queue,
        settings.stream_partitions,
        settings.stream_age_seconds_max,
        settings.stream_bytes_max,
        None if settings.broker_url == "embedded:" else settings.broker_url,
        _one_at_a_time(settings, "streams"),
    )


def _one_at_a_time(settings: Settings, name: str) -> ExclusiveLock:
    """Among all who share the database; SQLite's are the workers of one data folder."""
    if settings.database_url.startswith("sqlite:"):
        return file_lock(settings.run_dir / f"{name}.lock")
    return mysql_lock(Servers.parse(settings.database_url), name, settings.connect_timeout_seconds)


def make_tracing(settings: Settings) -> Tracing | None:
    """None if it is off. Raises `SettingsError` if it is on and not installed."""
    if settings.tracing == "off":
        return None
    try:
        from ingest.server import tracing  # nobody else shall need OpenTelemetry, or wait for its import
    except ImportError as exc:
        raise SettingsError(f"INGEST_TRACING needs {exc.name}: pip install 'call-events-ingest[otel]'.") from exc
    return tracing.Tracing(settings.queue)


def _batcher_limits(settings: Settings) -> BatcherLimits:
    return BatcherLimits(
        batch_events_max=settings.batch_events_max,
        batch_bytes_max=settings.batch_bytes_max,
        queue_events_max=settings.queue_events_max,
        queue_bytes_max=settings.queue_bytes_max,
        queue_seconds_max=settings.queue_seconds_max,
        writers=settings.store_connections_max,
        patience_seconds=settings.writer_patience_seconds,
    )

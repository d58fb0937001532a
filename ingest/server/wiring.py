"""Connects the parts of a worker. Nothing does I/O before the worker starts."""

import time
from typing import TYPE_CHECKING

from ingest.audit.cleaner import AuditCleaner
from ingest.auth.authenticator import Authenticator
from ingest.auth.readers import Readers
from ingest.auth.token_refresh import TokenRefresher
from ingest.broker.base import Publisher
from ingest.broker.shared_target import SharedTarget
from ingest.clock import unix_us
from ingest.errors import SettingsError
from ingest.events.idempotency import Keys
from ingest.files.lock_watch import LockWatch
from ingest.http.admission import Admission
from ingest.http.body_reader import BodyReader
from ingest.http.trace_context import propagate_trace_context
from ingest.outbox.backlog import BacklogWatch
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.outbox.settler import Settler
from ingest.pipeline.batcher import Batcher
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.event_queue import BatcherLimits
from ingest.pipeline.id_lease import IdLease
from ingest.retention.idempotency_keys import KeyCleaner
from ingest.server.factories.broker import make_shared_target
from ingest.server.factories.publishing import Publishing
from ingest.server.factories.spool import has_spool, make_identity, make_spool
from ingest.server.factories.store import as_mysql
from ingest.server.pipeline import Pipeline
from ingest.settings import Settings
from ingest.status.health import Health
from ingest.store.base import Store
from ingest.telemetry.clock_skew import ClockWatch
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import COMMIT, COMMIT_UNSPOOLED, PUBLISH, Outage

if TYPE_CHECKING:
    from ingest.server.tracing.tracing import Tracing


def build_pipeline(
    settings: Settings,
    store: Store,
    publisher: Publisher,
    metrics: Metrics,
    worker_index: int,
    tracing: "Tracing | None" = None,
    shared_target: SharedTarget | None = None,
) -> Pipeline:
    """`worker_index` is the number of the worker on this host (`ingest.files.locks`)."""
    shared_target = shared_target or make_shared_target(settings, store)
    if tracing:
        publisher = tracing.publisher(publisher)
    publish_outage = Outage(PUBLISH, time.monotonic)
    commit_outage = Outage(COMMIT if has_spool(settings) else COMMIT_UNSPOOLED, time.monotonic, metrics.commits_failing)
    authenticator = Authenticator(settings.tokens, time.monotonic)
    readers = Readers()
    bodies = BodyReader(settings.body_timeout_seconds, time.monotonic)
    dead_letter_policy = DeadLetterPolicy(store, settings.dead_letter_seconds, metrics, unix_us)
    publishing = Publishing(settings, publisher, store, publish_outage, metrics, dead_letter_policy)
    relay = publishing.relay()
    settler = Settler(store)
    database = CommitTarget(tracing.store(store) if tracing else store, settler, relay)
    locks = LockWatch(time.monotonic)
    backlog_watch = BacklogWatch(store, metrics)
    mysql = as_mysql(store)
    clocks = mysql.clocks if mysql else ClockWatch()
    clocks.show = metrics.clock_apart_seconds.set
    slots = IdLease(settings.data_dir / "slots", store, unix_us)
    locks.add(lambda: slots.lock)
    identity = make_identity(settings, slots, worker_index)
    spool = make_spool(settings, publishing, commit_outage, identity)
    dispatcher = publishing.dispatcher(spool.store if spool else None)
    committer = publishing.committer(database, spool.target if spool else None, commit_outage, dispatcher)
    batcher = Batcher(committer, _batcher_limits(settings), metrics, unix_us, time.monotonic)
    checks = {
        "locks": locks.problem,
        "backlog": backlog_watch.problem,
        "tables": lambda: store.unfinished,
        "cluster": shared_target.problem,
        "clock": clocks.problem,
        "commits": lambda: commit_outage.reason,
    } | ({"spool files": spool.watch.trouble} if spool else {})
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
        readers=readers,
        key_cleaner=KeyCleaner(
            store, settings.idempotency_seconds, unix_us, metrics.background_failures.labels("keys").inc
        ),
        audit_cleaner=AuditCleaner(
            store, settings.audit_days, unix_us, metrics.background_failures.labels("audit").inc
        ),
        token_refresher=TokenRefresher(store, authenticator, readers, settings.run_dir / "tokens", metrics, unix_us),
        admission=_admission(settings, authenticator, metrics, tracing),
    )


def _admission(
    settings: Settings, authenticator: Authenticator, metrics: Metrics, tracing: "Tracing | None"
) -> Admission:
    keys = Keys(natural=settings.idempotency_key == "natural")
    propagate = tracing.propagate_trace_context if tracing else propagate_trace_context
    return Admission(authenticator, keys, metrics, propagate)


def make_tracing(settings: Settings) -> "Tracing | None":
    """Return None if tracing is off. Raises `SettingsError` if OpenTelemetry is not installed."""
    if settings.tracing == "off":
        return None
    try:
        from ingest.server.tracing.tracing import Tracing  # slow to import, and optional
    except ImportError as exc:
        raise SettingsError(f"INGEST_TRACING needs {exc.name}: pip install 'call-events-ingest[otel]'.") from exc
    return Tracing(settings.exchange or settings.queue)


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

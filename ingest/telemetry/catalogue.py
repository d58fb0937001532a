"""The catalogue of metrics: names, types, units, labels. `docs/metrics.md` says what to do about each one."""

from collections.abc import Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

from ingest.telemetry.connection_metrics import CountedConnections
from ingest.telemetry.histogram import BatchHistogram
from ingest.telemetry.labels import BATCH_EVENTS, CALL_SECONDS, END_TO_END_SECONDS, SECONDS

ABSENT = "Absent while it is unknown."
ESTIMATED = "More than 10,000 rows are estimated."


class _Definitions:
    """Makes metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, *labels: str, buckets: Sequence[float] = SECONDS) -> BatchHistogram:
        return BatchHistogram(name, text, labels, buckets=buckets, registry=self._registry)

    def gauge(self, name: str, text: str, mode: Literal["livesum", "livemax", "livemin"], *labels: str) -> Gauge:
        """`mode` says how the values of live workers are combined."""
        return Gauge(name, text, labels, multiprocess_mode=mode, registry=self._registry)


def background_failures(registry: CollectorRegistry) -> Counter:
    """The one metric that workers and their supervisor have."""
    text = "Failures of background tasks of a worker or of the supervisor, by task. A failed task starts again."
    return _Definitions(registry).counter("ingest_background_failures_total", text, "task")


class Catalogue:
    """Defines all metrics of one worker. Counters count events, never batches, unless they say otherwise."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        definitions = _Definitions(registry)
        self._define_requests(definitions)
        self._define_callers(definitions)
        self._define_listener(definitions)
        self._define_store(definitions)
        self._define_spool(definitions)
        self._define_publishing(definitions)
        self._define_outbox(definitions)
        self._define_workers(definitions)

    def _define_requests(self, new: _Definitions) -> None:
        self.accepted = new.counter("ingest_events_accepted_total", "Events answered 200: durable in the database.")
        self.repeated = new.counter(
            "ingest_events_repeated_total",
            "Duplicates: events accepted but not stored, as their key was already used.",
        )
        self.requests = new.counter(
            "ingest_requests_total", "Requests answered, by endpoint and outcome.", "endpoint", "outcome"
        )
        self.single_queued = self.requests.labels("single", "queued")
        self.adapted = new.counter(
            "ingest_events_adapted_total",
            "Events of telephony servers with a field that was changed, by source and reason.",
            "client",
            "reason",
        )
        self.refused = new.counter(
            "ingest_requests_refused_total",
            "Requests, and items of batches, that were not queued, by the error's code.",
            "code",
        )
        self.queued_events = new.gauge("ingest_queued_events", "Events waiting for a commit.", "livesum")
        self.ack_seconds = new.histogram(
            "ingest_ack_seconds",
            "Time of every event from its complete receipt until the database stored or refused it.",
        )

    def _define_callers(self, new: _Definitions) -> None:
        self.token_events = new.counter("ingest_token_events_total", "Events accepted, by the token's name.", "token")
        self.token_limited = new.counter(
            "ingest_token_limited_total", "Requests refused by their token's rate limit, by the token's name.", "token"
        )
        self.token_last_event_seconds = new.gauge(
            "ingest_token_last_event_seconds",
            "Unix time of the last accepted event, by the token's name. 0 if there was none since the start.",
            "livemax",
            "token",
        )
        self.by_type = new.counter(
            "ingest_events_by_type_total", "Events stored in the database or the spool, by type.", "event_type"
        )
        self.by_client = new.counter("ingest_events_by_client_total", "Events accepted, by client form.", "client")
        self.call_seconds = new.histogram(
            "ingest_call_duration_seconds",
            "Durations of ended calls, as the clients sent them: a sample under a heavy load.",
            buckets=CALL_SECONDS,
        )

    def _define_listener(self, new: _Definitions) -> None:
        """The metrics of the direct listener. Granian has its own."""
        self.http_connections = new.gauge("ingest_http_connections", "Open connections of clients.", "livesum")
        self.http_requests = new.counter("ingest_http_requests_total", "Requests whose head was received.")
        self.http_received_bytes = new.counter("ingest_http_received_bytes_total", "Bytes received from clients.")
        self.http_malformed = new.counter(
            "ingest_http_malformed_total", "Requests that the listener itself refused: no valid HTTP/1.1, or too large."
        )

    def _define_store(self, new: _Definitions) -> None:
        self.stored = new.counter("ingest_events_stored_total", "Events committed to the database.")
        self.refused_commits = new.counter(
            "ingest_commits_refused_total",
            "Commits that the database refused, wholly or in part, by the error's code.",
            "code",
        )
        self.commit_retries = new.counter(
            "ingest_commit_retries_total",
            "Commits retried after a lost connection or a deadlock, or in parts after a refused row.",
        )
        self.database = CountedConnections(
            new.counter("ingest_database_connects_total", "Connections made to the database."), self.commit_retries
        )
        self.database_up = new.gauge(
            "ingest_database_up", "1 if the last check of the database succeeded, else 0.", "livemin"
        )
        self.commits_failing = new.gauge(
            "ingest_commits_failing", "1 from a failed commit until the next successful one.", "livemax"
        )
        self.clock_apart_seconds = new.gauge(
            "ingest_clock_apart_seconds", "Difference between this host's clock and the database's.", "livemax"
        )
        self.partitions_dropped = new.counter(
            "ingest_partitions_dropped_total", "Days of call_event_logs dropped by the service."
        )
        self.retention_failures = new.counter("ingest_retention_failures_total", "Retention checks that failed.")
        self.archived = new.counter(
            "ingest_events_archived_total", "Events written to archives before their day was dropped."
        )
        self.archived_bytes = new.counter("ingest_archived_bytes_total", "Size of the archives' files.")
        self.archive_failures = new.counter(
            "ingest_archive_failures_total",
            "Archives that could not be written or proven. No day was dropped.",
        )
        self.batch_events = new.histogram("ingest_batch_events", "Events in a committed batch.", buckets=BATCH_EVENTS)
        self.commit_seconds = new.histogram("ingest_commit_seconds", "Duration of one batch's commit.")
        self.queue_seconds = new.histogram(
            "ingest_queue_seconds", "Time the oldest event of a batch waited before its commit began."
        )

    def _define_spool(self, new: _Definitions) -> None:
        self.spooled = new.counter(
            "ingest_events_spooled_total", "Events written to the spool while the database was down."
        )
        self.drained = new.counter("ingest_events_drained_total", "Events moved from the spool to the database.")
        self.set_aside = new.counter(
            "ingest_events_set_aside_total",
            "Events of the spool that were damaged or that the database refuses: see `ingest spool ls`.",
        )
        self.spool_events = new.gauge("ingest_spool_events", "Events in the spool.", "livesum")
        self.spool_set_aside_events = new.gauge(
            "ingest_spool_set_aside_events", "Events in the spool that never reach the database.", "livesum"
        )
        self.spool_bytes = new.gauge("ingest_spool_bytes", "Size of the spool's records.", "livesum")
        self.spool_age_seconds = new.gauge(
            "ingest_spool_age_seconds", "Age of the oldest event in the spool.", "livemax"
        )

    def _define_publishing(self, new: _Definitions) -> None:
        self.published = new.counter(
            "ingest_events_published_total", "Events confirmed by the broker, by route.", "route"
        )
        self.publish_failed = new.counter(
            "ingest_events_publish_failed_total",
            "Events that were not published; they stay in the outbox for the relay.",
            "route",
        )
        self.released = new.counter(
            "ingest_events_released_total",
            "Events deferred to the relay without a try: the broker is away, or too many are in flight.",
        )
        self.publish_retries = new.counter(
            "ingest_publish_retries_total", "Events published again after a failed attempt."
        )
        self.broker = CountedConnections(
            new.counter("ingest_broker_connects_total", "Connections made to the broker."), self.publish_retries
        )
        self.broker_up = new.gauge("ingest_broker_up", "1 if the broker is connected, else 0.", "livemin")
        self.broker_blocked = new.gauge(
            "ingest_broker_blocked", "1 while the broker blocks this worker's publishing.", "livemax"
        )
        self.inflight_events = new.gauge(
            "ingest_publish_inflight_events", "Events sent to the broker and not confirmed yet.", "livesum"
        )
        self.publish_seconds = new.histogram(
            "ingest_publish_seconds", "Time from the publish of a batch to its last confirm."
        )
        self.end_to_end_seconds = new.histogram(
            "ingest_end_to_end_seconds",
            "Time of every event from its acceptance until the broker confirmed it, by route.",
            "route",
            buckets=END_TO_END_SECONDS,
        )

    def _define_outbox(self, new: _Definitions) -> None:
        self.backlog_events = new.gauge(
            "ingest_backlog_events", f"Events in the outbox. {ABSENT} {ESTIMATED}", "livemax"
        )
        self.outbox_entries = new.gauge(
            "ingest_outbox_entries", f"Batches in the outbox. {ABSENT} {ESTIMATED}", "livemax"
        )
        self.backlog_age_seconds = new.gauge(
            "ingest_backlog_age_seconds", f"Age of the oldest event in the outbox. {ABSENT}", "livemax"
        )
        self.dead = new.counter(
            "ingest_events_dead_total",
            "Events that became dead letters, as the broker never takes them: see `ingest dead ls`.",
        )
        self.dead_letters = new.gauge(
            "ingest_dead_letters", f"Events in the table of dead letters. {ABSENT} {ESTIMATED}", "livemax"
        )

    def _define_workers(self, new: _Definitions) -> None:
        self.workers = new.gauge("ingest_workers", "Worker processes alive.", "livesum")
        self.check_failing = new.gauge(
            "ingest_check_failing", "1 while a check finds a problem that still lets events in.", "livemax", "check"
        )
        self.worker_restarts = new.counter(
            "ingest_worker_restarts_total", "Workers that replaced a worker that had died, unplanned."
        )
        self.background_failures = background_failures(self.registry)

"""The catalogue of metrics: names, types, units, labels. `docs/metrics.md` says what to do with each.

prometheus-client's multiprocess files add up over all workers. A worker's files are named by its seat
(`ingest.files.locks`), not its process id: the one that takes a killed worker's place counts on from there.
Everything is observed once a batch, or on the rare paths once a request.
"""

from pathlib import Path
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from ingest.telemetry.connection_metrics import CountedConnections
from ingest.telemetry.durable_counters import DurableCounters
from ingest.telemetry.histogram import BatchHistogram

Route = Literal["memory", "relay", "spool"]
ROUTES: tuple[Route, ...] = get_args(Route)
Way = Literal["single", "batch", "client"]
"""Which endpoint a request came to; `client` is all below `/in/`."""
Outcome = Literal["queued", "refused", "unavailable"]
"""Answered 2xx, 4xx, 5xx."""
REFUSAL_CODES = (
    "unauthenticated",
    "unknown_client",
    "malformed",
    "invalid",
    "batch_refused",
    "row_refused",
    "key_reused",
    "body_too_large",
    "body_timeout",
    "unsupported_encoding",
    "method_not_allowed",
    "rate_limited",
    "overloaded",
    "draining",
    "store",
    "store_unavailable",
    "schema",
    "ids_taken",
    "spool_full",
    "spool_damaged",
)
"""The codes of all errors that refuse a request (`ingest.errors`)."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
END_TO_END_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
BATCH_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
REFUSED_COMMIT_CODES = ("row_refused", "batch_refused", "schema", "store_unavailable", "ids_taken", "store")
"""The codes of the errors that end a commit (`ingest.errors`)."""

UNKNOWN = -1.0
"""In a worker's files: below all that is known. `ingest.telemetry.multiprocess` shows no series with it."""
ABSENT = "Absent while it is unknown."
ESTIMATED = "More than 10,000 rows are estimated."


class Metrics:
    """All metrics of one worker. Counters count events, never batches, unless they say otherwise."""

    def __init__(self, registry: CollectorRegistry, pending_commits_file: Path | None = None) -> None:
        self.registry = registry
        self.accepted = Counter(
            "ingest_events_accepted_total", "Events answered 200: durable in the database.", registry=registry
        )
        self.requests = Counter(
            "ingest_requests_total",
            "Requests answered, by the endpoint and by what became of them.",
            ["endpoint", "outcome"],
            registry=registry,
        )
        self.single_queued = self.requests.labels("single", "queued")
        self.refused = Counter(
            "ingest_requests_refused_total",
            "Requests, and items of batches, that were not queued, by the error's code.",
            ["code"],
            registry=registry,
        )
        self.token_events = Counter(
            "ingest_token_events_total", "Events accepted, by the name of the token.", ["token"], registry=registry
        )
        self.token_limited = Counter(
            "ingest_token_limited_total",
            "Requests refused for the rate of their token, by its name.",
            ["token"],
            registry=registry,
        )
        self.stored = Counter("ingest_events_stored_total", "Events committed to the database.", registry=registry)
        self.repeated = Counter(
            "ingest_events_repeated_total",
            "Events accepted, and not stored again, as an earlier one had their key.",
            registry=registry,
        )
        self.spooled = Counter(
            "ingest_events_spooled_total", "Events kept in the spool while the database was away.", registry=registry
        )
        self.refused_commits = Counter(
            "ingest_commits_refused_total",
            "Commits that the database did not take, or not wholly, by the error's code.",
            ["code"],
            registry=registry,
        )
        self.drained = Counter(
            "ingest_events_drained_total", "Events brought from the spool to the database.", registry=registry
        )
        self.partitions_dropped = Counter(
            "ingest_partitions_dropped_total", "Days of call_event_logs dropped by the service.", registry=registry
        )
        self.retention_failures = Counter(
            "ingest_retention_failures_total", "Checks of the retention that failed.", registry=registry
        )
        self.set_aside = Counter(
            "ingest_events_set_aside_total",
            "Events of the spool that the database refuses, or that were damaged: see `ingest spool ls`.",
            registry=registry,
        )
        self.published = Counter(
            "ingest_events_published_total", "Events confirmed by the broker, by route.", ["route"], registry=registry
        )
        self.publish_failed = Counter(
            "ingest_events_publish_failed_total",
            "Events whose publish failed; they stay in the outbox for the relay.",
            ["route"],
            registry=registry,
        )
        self.dead = Counter(
            "ingest_events_dead_total",
            "Events given up as the broker never takes them: see `ingest dead ls`.",
            registry=registry,
        )
        self.released = Counter(
            "ingest_events_released_total",
            "Events left to the relay at once: broker away, or too many in flight.",
            registry=registry,
        )
        self.commit_retries = Counter(
            "ingest_commit_retries_total",
            "Commits tried again: after a lost connection or a deadlock, or in parts as a row was refused.",
            registry=registry,
        )
        self.publish_retries = Counter(
            "ingest_publish_retries_total", "Events published again after a try that failed.", registry=registry
        )
        self.database = CountedConnections(
            Counter("ingest_database_connects_total", "Connections made to the database.", registry=registry),
            self.commit_retries,
        )
        self.broker = CountedConnections(
            Counter("ingest_broker_connects_total", "Connections made to the broker.", registry=registry),
            self.publish_retries,
        )
        self.ack_seconds = BatchHistogram(
            "ingest_ack_seconds",
            "Time from an event's receipt, whole, until it is durable or refused by the database; of every event.",
            buckets=SECONDS,
            registry=registry,
        )
        self.end_to_end_seconds = BatchHistogram(
            "ingest_end_to_end_seconds",
            "Time from an event's acceptance until the broker confirmed it, of every event, by route.",
            ["route"],
            buckets=END_TO_END_SECONDS,
            registry=registry,
        )
        self.batch_events = BatchHistogram(
            "ingest_batch_events", "Events in a committed batch.", buckets=BATCH_EVENTS, registry=registry
        )
        self.commit_seconds = BatchHistogram(
            "ingest_commit_seconds", "Time of one batch's commit.", buckets=SECONDS, registry=registry
        )
        self.queue_seconds = BatchHistogram(
            "ingest_queue_seconds",
            "Time the oldest event of a batch waited before its commit began.",
            buckets=SECONDS,
            registry=registry,
        )
        self.publish_seconds = BatchHistogram(
            "ingest_publish_seconds",
            "Time from publish to the last confirm of a batch.",
            buckets=SECONDS,
            registry=registry,
        )
        self.queued_events = Gauge(
            "ingest_queued_events",
            "Events waiting for a commit.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.inflight_events = Gauge(
            "ingest_publish_inflight_events",
            "Events handed to the broker and not confirmed yet.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.backlog_events = Gauge(
            "ingest_backlog_events",
            f"Events in the outbox. {ABSENT} {ESTIMATED}",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.outbox_entries = Gauge(
            "ingest_outbox_entries",
            f"Batches in the outbox. {ABSENT} {ESTIMATED}",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.dead_letters = Gauge(
            "ingest_dead_letters",
            f"Events in the table of dead letters. {ABSENT} {ESTIMATED}",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.backlog_age_seconds = Gauge(
            "ingest_backlog_age_seconds",
            f"Age of the oldest event in the outbox. {ABSENT}",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.spool_events = Gauge(
            "ingest_spool_events", "Events in the spool.", multiprocess_mode="livesum", registry=registry
        )
        self.spool_bytes = Gauge(
            "ingest_spool_bytes", "Size of the spool's records.", multiprocess_mode="livesum", registry=registry
        )
        self.spool_age_seconds = Gauge(
            "ingest_spool_age_seconds",
            "Age of the oldest event in the spool.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.database_up = Gauge(
            "ingest_database_up",
            "1 if the last check of the database passed.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.commits_failing = Gauge(
            "ingest_commits_failing",
            "1 from a commit that the database did not take until one that it takes.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.broker_up = Gauge(
            "ingest_broker_up", "1 if the broker is connected.", multiprocess_mode="livemin", registry=registry
        )
        self.broker_blocked = Gauge(
            "ingest_broker_blocked",
            "1 while the broker lets this worker publish nothing.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.clock_apart_seconds = Gauge(
            "ingest_clock_apart_seconds",
            "How far this host's clock is from the database's.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.workers = Gauge(
            "ingest_workers", "Worker processes alive.", multiprocess_mode="livesum", registry=registry
        )
        self.worker_restarts = Counter(
            "ingest_worker_restarts_total", "Workers that took the place of one that died.", registry=registry
        )
        self.background_failures = Counter(
            "ingest_background_failures_total",
            "Failures of a worker's background tasks, each of which starts again, by task.",
            ["task"],
            registry=registry,
        )
        self.durable_counters = DurableCounters(self.accepted, self.stored, self.repeated, pending_commits_file)
        self._begin_at_zero()
        self.backlog_is_unknown()

    def backlog_is_unknown(self) -> None:
        """What was known before may be wrong by now: shown are the other workers' values, or none."""
        for gauge in (self.backlog_events, self.outbox_entries, self.backlog_age_seconds, self.dead_letters):
            gauge.set(UNKNOWN)

    def answered(self, way: Way, status: int) -> None:
        """Count a request; those that are queued one by one are counted by the batch."""
        outcome: Outcome = "queued" if status < 400 else "refused" if status < 500 else "unavailable"
        self.requests.labels(way, outcome).inc()

    def _begin_at_zero(self) -> None:
        """Show every label's series from the start: `rate` does not see the first event of a new one."""
        for code in REFUSAL_CODES:
            self.refused.labels(code)
        for code in REFUSED_COMMIT_CODES:
            self.refused_commits.labels(code)
        self.background_failures.labels("publishing")
        for way in get_args(Way):
            for outcome in get_args(Outcome):
                self.requests.labels(way, outcome)
        for route in ROUTES:
            self.published.labels(route)
            self.publish_failed.labels(route)
            self.end_to_end_seconds.labels(route)

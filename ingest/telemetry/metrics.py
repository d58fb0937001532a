"""One worker's metrics, in prometheus-client's multiprocess files, which add up over all workers.

A worker's files carry its worker index (`ingest.files.locks`), not its process id. So the worker that replaces a killed
one continues its counters. The pipeline observes metrics once a batch. Only rare paths observe them once a request.
"""

import math
from collections.abc import Collection, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from ingest.telemetry.catalogue import Catalogue
from ingest.telemetry.durable_counters import DurableCounters
from ingest.telemetry.labels import (
    ADAPTATIONS,
    OUTCOMES,
    REFUSAL_CODES,
    REFUSED_COMMIT_CODES,
    ROUTES,
    WAYS,
    Adaptation,
    Outcome,
    Way,
)
from ingest.telemetry.traffic.callers import Callers
from ingest.telemetry.traffic.stored import StoredEvent, StoredEvents

UNKNOWN = -1.0
"""A gauge's value in a worker's files, below all real ones. `ingest.telemetry.multiprocess` hides such a series."""
UNKNOWN_LEAST = math.inf
"""The same for a gauge that shows the least value of all workers: the values of other workers remain."""


class Metrics(Catalogue):
    """See `ingest.telemetry.catalogue`."""

    def __init__(self, registry: CollectorRegistry, pending_commits_file: Path | None = None) -> None:
        super().__init__(registry)
        self.durable_counters = DurableCounters(self.accepted, self.stored, self.repeated, pending_commits_file)
        self.callers = Callers(self.by_client)
        self._stored_events = StoredEvents(self.by_type, self.call_seconds)
        self._begin_at_zero()
        self.backlog_is_unknown()
        for gauge in (self.database_up, self.broker_up):
            gauge.set(UNKNOWN_LEAST)  # a 0 before the first check would look like an outage of all workers

    def backlog_is_unknown(self) -> None:
        """Hide this worker's values, which may be wrong by now. Other workers' values remain, if there are any."""
        for gauge in (self.backlog_events, self.outbox_entries, self.backlog_age_seconds, self.dead_letters):
            gauge.set(UNKNOWN)

    def answered(self, way: Way, status: int, count: int = 1) -> None:
        """Count requests. The batcher counts queued requests of the `single` endpoint by the batch instead."""
        outcome: Outcome = "queued" if status < 400 else "refused" if status < 500 else "unavailable"
        self._answered[way, outcome].inc(count)

    def count_refused(self, code: str) -> None:
        self._refused[code].inc()

    def count_stored(self, events: Sequence[StoredEvent]) -> None:
        """Count events of a batch by type. `show_callers` shows them."""
        self._stored_events.add(events)

    def show_callers(self, accepted: int) -> None:
        """Update the metrics of types, durations and client forms. `accepted` is the number of all events so far."""
        self._stored_events.show()
        self.callers.show(accepted)

    def begin_adapted(self, sources: Collection[str]) -> None:
        """Create the series of each source, as of every other label."""
        self.callers.begin(sources)
        for source in sources:
            for reason in ADAPTATIONS:
                self.adapted.labels(source, reason)

    def count_adapted(self, source: str, reason: Adaptation) -> None:
        self.adapted.labels(source, reason).inc()

    def _begin_at_zero(self) -> None:
        """Create every label's series at the start: `rate` does not see the first event of a new series."""
        self._refused = {code: self.refused.labels(code) for code in REFUSAL_CODES}
        for code in REFUSED_COMMIT_CODES:
            self.refused_commits.labels(code)
        self.background_failures.labels("publishing")
        self.check_failing.labels("retention")
        self._answered = {(way, outcome): self.requests.labels(way, outcome) for way in WAYS for outcome in OUTCOMES}
        for route in ROUTES:
            self.published.labels(route)
            self.publish_failed.labels(route)
            self.end_to_end_seconds.labels(route)

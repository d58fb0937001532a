"""Makes the dispatcher and the relays of a worker, for a stream in order or for a queue."""

import time
from typing import cast

import msgspec

from ingest.broker.base import OrderedPublisher, Publisher
from ingest.clock import unix_us
from ingest.ordering.base import OrderedStore
from ingest.ordering.committer import OrderedCommitter
from ingest.ordering.dispatcher import OrderedDispatcher
from ingest.ordering.relay import OrderedRelay, OrderedSpoolRelay
from ingest.outbox.base import Outbox
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.outbox.progress import Progress
from ingest.outbox.relay import Relay, RelayLimits, RelayTools
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.committer import Committer, CommitterLimits
from ingest.pipeline.dispatcher import Dispatcher, DispatcherLimits
from ingest.settings import Settings
from ingest.store.base import Store
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage


def keeps_order(settings: Settings) -> bool:
    """True if the stream has each event once, and the events of a call in order."""
    return settings.publish_to == "stream" and settings.database_url.startswith("mysql:")


class Publishing(msgspec.Struct, frozen=True):
    """Collaborators of dispatcher and relays. If order is kept, `database` and `publisher` are the ordered kinds."""

    settings: Settings
    publisher: Publisher
    database: Store
    outage: Outage
    metrics: Metrics
    dead_letter_policy: DeadLetterPolicy
    progress: Progress = msgspec.field(default_factory=Progress)

    def relay(self) -> Relay:
        """Make the relay of the database's outbox."""
        if ordered := self._ordered:
            return OrderedRelay(ordered[1], ordered[0], self._relay_tools)
        return Relay(self.database, self.publisher, self._relay_tools)

    def spool_relay(self, spool: Outbox) -> Relay:
        if ordered := self._ordered:
            return OrderedSpoolRelay(spool, ordered[1], ordered[0], self._relay_tools)
        return Relay(spool, self.publisher, self._relay_tools, "spool", entries_move=True)

    def dispatcher(self, spool: Outbox | None) -> Dispatcher:
        shared = (self._dispatcher_limits, self.outage, self.metrics, time.monotonic, unix_us)
        if ordered := self._ordered:
            publisher, database = ordered
            return OrderedDispatcher(publisher, database, spool, *shared, self.dead_letter_policy)
        return Dispatcher(self.publisher, *shared)

    def committer(
        self, database: CommitTarget, spool: CommitTarget | None, outage: Outage, dispatcher: Dispatcher
    ) -> Committer:
        """`outage` is the database's."""
        seconds = self.settings.commit_timeout_seconds
        limits = CommitterLimits(seconds, seconds, self.settings.spool_after_seconds)
        shared = (limits, self.metrics, time.monotonic)
        if isinstance(dispatcher, OrderedDispatcher):
            return OrderedCommitter(database, spool, outage, dispatcher, *shared)
        return Committer(database, spool, outage, dispatcher, *shared)

    @property
    def _ordered(self) -> tuple[OrderedPublisher, OrderedStore] | None:
        if not keeps_order(self.settings):
            return None
        return cast(OrderedPublisher, self.publisher), cast(OrderedStore, self.database)

    @property
    def _relay_tools(self) -> RelayTools:
        limits = RelayLimits(
            poll_seconds=self.settings.relay_poll_seconds,
            entries_max=self.settings.relay_entries_max,
            lease_seconds=self.settings.lease_seconds,
        )
        return RelayTools(
            limits, self.outage, self.metrics, time.monotonic, unix_us, self.dead_letter_policy, self.progress
        )

    @property
    def _dispatcher_limits(self) -> DispatcherLimits:
        return DispatcherLimits(
            inflight_events_max=self.settings.publish_inflight_events_max,
            inflight_bytes_max=self.settings.publish_inflight_bytes_max,
            lease_seconds=self.settings.lease_seconds,
        )

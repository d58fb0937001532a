"""The parts of one worker, which `ingest.server.wiring` connects and `ingest.server.worker` starts and stops."""

import msgspec

from ingest.audit.cleaner import AuditCleaner
from ingest.auth.authenticator import Authenticator
from ingest.auth.readers import Readers
from ingest.auth.token_refresh import TokenRefresher
from ingest.broker.base import Publisher
from ingest.broker.shared_target import SharedTarget
from ingest.files.lock_watch import LockWatch
from ingest.http.admission import Admission
from ingest.http.body_reader import BodyReader
from ingest.outbox.backlog import BacklogWatch
from ingest.outbox.relay import Relay
from ingest.outbox.settler import Settler
from ingest.pipeline.batcher import Batcher
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.dispatcher import Dispatcher
from ingest.pipeline.identity import Identity
from ingest.retention.idempotency_keys import KeyCleaner
from ingest.spool.adoption import Adoption
from ingest.spool.drainer import Drainer
from ingest.spool.health import SpoolWatch
from ingest.spool.store import SpoolStore
from ingest.status.health import Health
from ingest.store.base import Store
from ingest.telemetry.metrics import Metrics


class SpoolParts(msgspec.Struct, frozen=True):
    """The spool has a settler and a relay of its own. `adoption` takes over the spools of dead workers."""

    store: SpoolStore
    settler: Settler
    relay: Relay
    drainer: Drainer
    adoption: Adoption
    watch: SpoolWatch

    @property
    def target(self) -> CommitTarget:
        return CommitTarget(self.store, self.settler, self.relay, in_database=False)


class Pipeline(msgspec.Struct, frozen=True):
    store: Store
    spool: SpoolParts | None
    publisher: Publisher
    metrics: Metrics
    bodies: BodyReader
    batcher: Batcher
    dispatcher: Dispatcher
    settler: Settler
    relay: Relay
    health: Health
    shared_target: SharedTarget
    locks: LockWatch
    backlog_watch: BacklogWatch
    identity: Identity
    authenticator: Authenticator
    readers: Readers
    key_cleaner: KeyCleaner
    audit_cleaner: AuditCleaner
    token_refresher: TokenRefresher
    admission: Admission

    @property
    def settlers(self) -> list[Settler]:
        return [self.settler, self.spool.settler] if self.spool else [self.settler]

    @property
    def unfinished_events(self) -> int:
        """Events that wait for a commit or for a confirm."""
        return self.batcher.queued_events + self.dispatcher.inflight_events

"""Makes the spool and the identity of a worker from the settings."""

import time

from ingest.clock import unix_us
from ingest.events.ids import LEASED_SLOTS_MAX
from ingest.outbox.settler import Settler
from ingest.pipeline.id_lease import IdLease
from ingest.pipeline.identity import RESTART_SECONDS, Identity
from ingest.server.factories.publishing import Publishing, keeps_order
from ingest.server.pipeline import SpoolParts
from ingest.settings import Settings
from ingest.spool.adoption import Adoption
from ingest.spool.drainer import Drainer
from ingest.spool.files import take_spool
from ingest.spool.health import SpoolWatch
from ingest.spool.records import SpoolLimits
from ingest.spool.store import SpoolStore
from ingest.telemetry.outage import Outage


def has_spool(settings: Settings) -> bool:
    """False also for SQLite: the spool would be on the same disk, and no more durable than the database."""
    return bool(settings.spool_bytes_max) and not settings.database_url.startswith("sqlite:")


def make_identity(settings: Settings, slots: IdLease, worker_index: int) -> Identity:
    """A worker without an id slot gives events provisional ids, if it has a spool.

    It refuses events where order counts: an event that gets its final id later would be published out of order.
    """
    provisional = has_spool(settings) and not keeps_order(settings)
    if provisional:
        return Identity(slots, unix_us, LEASED_SLOTS_MAX + worker_index, 0.0)
    return Identity(slots, unix_us, None, RESTART_SECONDS)


def make_spool(settings: Settings, publishing: Publishing, away: Outage, identity: Identity) -> SpoolParts | None:
    """Return None if the spool is not used."""
    if not has_spool(settings):
        return None
    limits = SpoolLimits(
        settings.spool_bytes_max // settings.workers,
        settings.spool_free_bytes_min,
        settings.lease_seconds,
        published_first=keeps_order(settings),
    )
    folder = settings.data_dir / "spool"
    store = SpoolStore(take_spool(folder), settings.commit_timeout_seconds, limits, time.monotonic)
    relay = publishing.spool_relay(store)
    poll_seconds, metrics = settings.spool_poll_seconds, publishing.metrics
    drainer = Drainer(store, publishing.database, relay, away, poll_seconds, metrics, identity.renew_ids)
    watch = SpoolWatch(store, away, metrics, unix_us)
    adoption = Adoption(folder, store)
    return SpoolParts(store=store, settler=Settler(store), relay=relay, drainer=drainer, adoption=adoption, watch=watch)

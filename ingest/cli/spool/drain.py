"""`ingest spool drain`: moves all spooled batches to the database while the service is stopped."""

import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry

from ingest.clock import unix_us
from ingest.errors import IngestError
from ingest.events.batch import Batch
from ingest.pipeline.id_lease import IdLease
from ingest.pipeline.identity import Identity
from ingest.server.factories.publishing import keeps_order
from ingest.server.factories.store import make_store
from ingest.settings import Settings
from ingest.spool.adoption import Adoption
from ingest.spool.drainer import Drainer
from ingest.spool.files import is_held, spools, take_spool
from ingest.spool.records import SpoolLimits
from ingest.spool.store import SpoolStore
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import COMMIT, Outage


class SpoolInUse(IngestError):
    """The service is running, and moves its spool to the database itself."""

    code = "spool_in_use"


class UnpublishedCounter:
    """Takes the relay's place. It only counts the events that the service has to publish later."""

    def __init__(self) -> None:
        self.events = 0

    def retry(self, batch: Batch, positions: Sequence[int]) -> None:
        self.events += len(positions)


async def drain(settings: Settings) -> Iterator[str]:
    """Return lines to print. Raises `StoreError` if the database is down, `SpoolInUse` if the service runs."""
    folder = settings.data_dir / "spool"
    if any(is_held(folder, number) for number in spools(folder)):
        raise SpoolInUse
    unpublished = UnpublishedCounter()
    metrics = Metrics(CollectorRegistry())
    await _drain(settings, unpublished, metrics)
    return _lines(_value(metrics.drained), _value(metrics.set_aside), unpublished.events)


async def _drain(settings: Settings, unpublished: UnpublishedCounter, metrics: Metrics) -> None:
    ordered = keeps_order(settings)
    limits = SpoolLimits(settings.spool_bytes_max, 0, settings.lease_seconds, published_first=ordered)
    folder = settings.data_dir / "spool"
    database = make_store(settings)
    spool = SpoolStore(take_spool(folder), settings.commit_timeout_seconds, limits, time.monotonic)
    outage = Outage(COMMIT, time.monotonic)
    adoption = Adoption(folder, spool)
    identity = Identity(IdLease(settings.data_dir / "slots", database, unix_us), unix_us, None, 0.0)
    poll_seconds = settings.spool_poll_seconds
    drainer = Drainer(spool, database, unpublished, outage, poll_seconds, metrics, identity.renew_ids)
    try:
        await database.ping()
        await spool.start()
        await adoption.adopt()
        while await drainer.round():
            await adoption.adopt()  # spools that did not fit before
        if ordered:
            unpublished.events += (await spool.usage()).events
    finally:
        await spool.close()
        await identity.release()
        await database.close()


def _lines(drained: int, set_aside: int, unpublished: int) -> Iterator[str]:
    yield f"{drained} events were moved to the database."
    if set_aside:
        yield f"{set_aside} events are set aside: see `ingest spool ls`."
    if unpublished:
        yield f"{unpublished} events stay in the spool because they are not published yet: start the service."


def _value(counter: object) -> int:
    return int(next(iter(counter.collect())).samples[0].value)  # type: ignore[attr-defined] # untyped in the library

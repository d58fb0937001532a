"""`ingest spool`: what waits for the database, whether it is whole, and bringing it over or trying it again by hand."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry

from ingest.clock import unix_us
from ingest.errors import IngestError
from ingest.files.atomic import replace_file
from ingest.pipeline.id_lease import IdLease
from ingest.pipeline.identity import Identity
from ingest.server.publishing import keeps_order
from ingest.server.wiring import make_store
from ingest.settings import Settings
from ingest.spool.adoption import Adoption
from ingest.spool.drainer import Drainer
from ingest.spool.files import RETRY, damaged, is_held, legacy, spools, take_spool
from ingest.spool.inspection import Contents, contents
from ingest.spool.records import SpoolLimits
from ingest.spool.store import SpoolStore
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import COMMIT, Outage

EMPTY = "The spool is empty: nothing waits for the database."
LEAVE_TO_SERVICE = "The service is running, and brings its spool to the database itself."
REFUSED_SHOWN = 10


class SpoolInUse(IngestError):
    """The service is running, and brings its spool to the database itself."""

    code = "spool_in_use"


class NotSetAside(IngestError):
    """Nothing is set aside, or nothing by these ids: see `ingest spool ls`."""

    code = "not_set_aside"


class Unpublished:
    """There is no relay here: what the database refuses, or may have only then, is left to the service."""

    def __init__(self) -> None:
        self.events = 0

    def retry(self, first_id: int, positions: Sequence[int]) -> None:
        self.events += len(positions)


def ls(settings: Settings) -> Iterator[str]:
    """A line a spool, one for each refused record, and one for each file that is kept for people."""
    folder = settings.data_dir / "spool"
    empty = True
    for spool in contents(folder):
        yield f"{spool.name}: {spool.state}; {_what(spool)}"
        yield from _refused_lines(spool)
        empty = False
    for line in _files(folder):
        yield line
        empty = False
    if empty:
        yield EMPTY


def verify(settings: Settings) -> tuple[bool, list[str]]:
    """Whether all is whole, and a line a spool or file."""
    folder = settings.data_dir / "spool"
    ok, lines = not damaged(folder), []
    for spool in contents(folder, decode=True):
        ok = ok and not spool.damage and not spool.broken
        records, events = spool.usage.records - len(spool.broken), spool.usage.events - sum(spool.broken.values())
        said = f"{spool.name}: {records} records, {events} events are whole"
        if spool.broken:
            said += f"; damaged records: {', '.join(map(str, spool.broken))}"
        lines += [said, *(f"  damaged: {line}" for line in spool.damage)]
    return ok, lines + list(_files(folder)) or [EMPTY]


def retry(settings: Settings, first_ids: Sequence[int]) -> str:
    """Ask the owners of what is set aside to try it again, also while the service runs. Raises `NotSetAside`."""
    folder = settings.data_dir / "spool"
    events = 0
    for spool in contents(folder):
        asked = [one for one in spool.refused if not first_ids or one.first_id in first_ids]
        if asked:
            content = msgspec.json.encode([one.first_id for one in asked])
            replace_file(folder / f"{spool.name}.{time.time_ns()}{RETRY}", content)
            events += sum(one.count for one in asked)
    if not events:
        raise NotSetAside
    return f"{events} events wait for the database again: the service, or `ingest spool drain`, brings them over."


def drain(settings: Settings) -> Iterator[str]:
    """Bring all of it to the database; raises `StoreError` if that is away, `SpoolInUse` if the service runs."""
    folder = settings.data_dir / "spool"
    if any(is_held(folder, number) for number in spools(folder)):
        raise SpoolInUse
    unpublished = Unpublished()
    metrics = Metrics(CollectorRegistry())
    asyncio.run(_drain(settings, unpublished, metrics))
    yield f"{_value(metrics.drained)} events were brought to the database."
    if refused := _value(metrics.set_aside):
        yield f"{refused} events are set aside: see `ingest spool ls`."
    if unpublished.events:
        yield f"{unpublished.events} events are left, as they are not published yet: start the service."


async def _drain(settings: Settings, unpublished: Unpublished, metrics: Metrics) -> None:
    ordered = keeps_order(settings)
    limits = SpoolLimits(settings.spool_bytes_max, 0, settings.lease_seconds, published_first=ordered)

    folder = settings.data_dir / "spool"
    database = make_store(settings)
    spool = SpoolStore(take_spool(folder), settings.commit_timeout_seconds, limits, unix_us)
    outage = Outage(COMMIT, time.monotonic)
    adoption = Adoption(folder, spool)
    identity = Identity(IdLease(settings.data_dir / "slots", database, unix_us), unix_us, None, 0.0)
    poll_seconds = settings.spool_poll_seconds
    drainer = Drainer(spool, database, unpublished, outage, poll_seconds, metrics, identity.anew)
    try:
        await database.ping()
        await spool.start()
        await adoption.adopt()
        while await drainer.round():
            await adoption.adopt()  # what did not fit before
        if ordered:
            unpublished.events += (await spool.usage()).events
    finally:
        await spool.close()
        await identity.release()
        await database.close()


def _value(counter: object) -> int:
    return int(next(iter(counter.collect())).samples[0].value)  # type: ignore[attr-defined] # untyped in the library


def _what(spool: Contents) -> str:
    usage = spool.usage
    if not usage.records:
        return "empty"
    age = max(0, unix_us() // 1000 - (spool.oldest_ms or 0)) // 1000
    return (
        f"{usage.events} events in {usage.records} records, {usage.bytes / 2**20:.1f} MiB; "
        f"{spool.unpublished} events unpublished; the oldest is {age} s old"
    )


def _refused_lines(spool: Contents) -> Iterator[str]:
    for refused in spool.refused[:REFUSED_SHOWN]:
        yield f"  set aside: {refused.count} events from id {refused.first_id} on: {refused.reason}"
    if len(spool.refused) > REFUSED_SHOWN:
        yield f"  and {len(spool.refused) - REFUSED_SHOWN} more"
    if spool.damage:
        yield f"  damaged in {len(spool.damage)} places: see `ingest spool verify`"


def _files(folder: Path) -> Iterator[str]:
    for path in damaged(folder):
        yield f"{path.name}: damaged; all that is whole in it was taken out of it; delete it when you need it no more"
    for path in legacy(folder):
        yield f"{path.name}: of an older version; the service, or `ingest spool drain`, takes it over"

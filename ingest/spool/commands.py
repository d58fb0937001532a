"""`ingest spool`: what waits for the database, whether it is whole, and bringing it over by hand."""

import asyncio
import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry

from ingest.clock import unix_us
from ingest.errors import IngestError
from ingest.metrics import Metrics
from ingest.outage import COMMIT, Outage
from ingest.publishing import keeps_order
from ingest.settings import Settings
from ingest.spool.adoption import Adoption
from ingest.spool.drainer import Drainer
from ingest.spool.files import SpoolFile, is_held, spools, take_spool
from ingest.spool.inspection import Contents, Listed, listed, verified
from ingest.spool.records import SpoolLimits
from ingest.spool.store import SpoolStore
from ingest.wiring import make_store

EMPTY = "The spool is empty: nothing waits for the database."
LEAVE_TO_SERVICE = "The service is running, and brings its spool to the database itself."
REFUSED_SHOWN = 10


class SpoolInUse(IngestError):
    """The service is running, and brings its spool to the database itself."""

    code = "spool_in_use"


class Unpublished:
    """There is no relay here: what the database refuses, or may have only then, is left to the service."""

    def __init__(self) -> None:
        self.events = 0

    def take_over(self, first_id: int, positions: Sequence[int]) -> None:
        self.events += len(positions)


def ls(settings: Settings) -> Iterator[str]:
    """A line a file, and one for each refused record."""
    found = list(listed(settings.data_dir / "spool"))
    if not found:
        yield EMPTY
    for file in found:
        yield _line(file)
        if file.contents:
            yield from _refused_lines(file.contents)


def verify(settings: Settings) -> tuple[bool, list[str]]:
    """Whether all is whole, and a line a file."""
    ok, lines = True, []
    for file in verified(settings.data_dir / "spool"):
        ok &= file.ok
        said = f"{file.path.name}: {file.records} records, {file.events} events are whole"
        if file.broken:
            said += f"; damaged records: {', '.join(map(str, file.broken))}"
        lines.append(f"{said}; {file.problem}" if file.problem else said)
    return ok, lines or [EMPTY]


def drain(settings: Settings) -> Iterator[str]:
    """Bring all of it to the database; raises `StoreError` if that is away, `SpoolInUse` if the service runs."""
    folder = settings.data_dir / "spool"
    if any(is_held(path) for path in spools(folder)):
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

    def opened(file: SpoolFile) -> SpoolStore:
        return SpoolStore(file, settings.commit_timeout_seconds, limits, unix_us)

    folder = settings.data_dir / "spool"
    database, spool = make_store(settings), opened(take_spool(folder))
    outage = Outage(COMMIT, time.monotonic)
    adoption = Adoption(folder, spool, opened)
    drainer = Drainer(spool, adoption, database, unpublished, outage, settings.spool_poll_seconds, metrics)
    try:
        await database.ping()
        await spool.start()
        await adoption.adopt()
        while await drainer.round():
            pass
        if ordered:
            unpublished.events += (await spool.usage()).events
    finally:
        await spool.close()
        await database.close()


def _value(counter: object) -> int:
    return int(next(iter(counter.collect())).samples[0].value)  # type: ignore[attr-defined] # untyped in the library


def _line(file: Listed) -> str:
    if file.contents is None:
        what = {
            "damaged": "set aside: the service reads out what is whole in it",
            "salvaged": "all that is whole in it was read out of it; delete it when you need it no more",
        }.get(file.state, f"cannot be read ({file.problem}); the service sets it aside")
        return f"{file.path.name}: {file.state}; {what}"
    contents = file.contents
    if not contents.records:
        return f"{file.path.name}: {file.state}; empty"
    age = max(0, unix_us() // 1000 - (contents.oldest_ms or 0)) // 1000
    return (
        f"{file.path.name}: {file.state}; {contents.events} events in {contents.records} records, "
        f"{contents.bytes / 2**20:.1f} MiB; {contents.unpublished} events unpublished; the oldest is {age} s old"
    )


def _refused_lines(contents: Contents) -> Iterator[str]:
    for refused in contents.refused[:REFUSED_SHOWN]:
        yield f"  set aside: {refused.count} events from id {refused.first_id} on: {refused.reason}"
    if len(contents.refused) > REFUSED_SHOWN:
        yield f"  and {len(contents.refused) - REFUSED_SHOWN} more"

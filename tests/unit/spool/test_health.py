import shutil
from pathlib import Path

import msgspec

from ingest.spool.files import segments_of, take_spool
from ingest.spool.health import SpoolWatch
from ingest.spool.records import Record
from ingest.spool.store import SpoolStore
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import COMMIT, Outage
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock
from tests.unit.making import batch
from tests.unit.spool.conftest import LIMITS


async def test_gauges_tell_what_is_there_while_the_disk_is_low(
    folder: Path, clock: FakeClock, metrics: Metrics, sample: Sample
) -> None:
    limits = msgspec.structs.replace(LIMITS, free_bytes_min=1 << 60)
    spool = SpoolStore(take_spool(folder), 5.0, limits, clock.monotonic)
    watch = SpoolWatch(spool, Outage(COMMIT, clock.monotonic), metrics, clock.now_us)
    made = batch(3)
    await spool.add([Record(made.first_id, 3, None, b"packed")])

    await watch.look()

    assert "bytes free" in str(watch.problem)
    assert sample("ingest_spool_events") == 3
    assert sample("ingest_spool_bytes") == sum(path.stat().st_size for path in segments_of(folder, 0))
    assert watch.waiting == "3 events wait for the database"
    await spool.close()


async def test_deleted_files_are_reported_and_written_anew(
    spool: SpoolStore, folder: Path, clock: FakeClock, metrics: Metrics
) -> None:
    watch = SpoolWatch(spool, Outage(COMMIT, clock.monotonic), metrics, clock.now_us)
    await spool.commit(batch(1), lease_seconds=0.0, settled=[])
    await watch.look()
    assert watch.trouble() is None
    shutil.rmtree(folder)

    await watch.look()

    assert "deleted or moved" in str(watch.trouble())
    assert len(segments_of(folder, 0)) == 1
    assert watch.problem is None

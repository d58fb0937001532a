"""The service accepts a batch of 64 MiB, in memory that is bounded by the size of the body."""

import json

import pytest

from tests.conftest import StartService
from tests.faults.reading import count_rows
from tests.integration.hostile import peak_resident_bytes
from tests.running import ServiceProcess
from tests.services import wait_until
from tests.unit.making import body

BODY_BYTES = 64 << 20
ITEM_BYTES = 8_000
ROWS_SECONDS = 120.0
PATIENCE_SECONDS = "60"
"""A slow machine takes this long for a part of the batch. With shorter limits it would refuse the body, or spool it."""
GROWTH_MAX = 4.5
"""Multiple of the body's size. It covers the received parts, the joined body and its queued items. It also covers as
many unconfirmed bytes at the broker (`INGEST_PUBLISH_INFLIGHT_BYTES_MAX`)."""


@pytest.fixture
def service(start_service: StartService, listener: str) -> ServiceProcess:
    sizes = {"BATCH_BODY_BYTES_MAX": str(BODY_BYTES), "BATCH_ITEMS_MAX": "100000"}
    patience = {"BODY_TIMEOUT_SECONDS": PATIENCE_SECONDS, "COMMIT_TIMEOUT_SECONDS": PATIENCE_SECONDS}
    service = start_service(**sizes, **patience, LISTENER=listener)
    service.wait_for_status("ready")
    return service


# A listener reads the body, and both leave its items to the same code: so each of the two has one kind.
@pytest.mark.parametrize(("listener", "kind"), [("direct", "array"), ("granian", "lines")], scope="session")
def test_batch_of_64_mib_is_accepted_in_bounded_memory(service: ServiceProcess, kind: str) -> None:
    (worker,) = service.worker_pids()
    assert service.post(b"[" + body() + b"]", "/api/call-events/batch")[0] == 200
    before = peak_resident_bytes(worker)
    event = body(note="x" * ITEM_BYTES)
    count = BODY_BYTES // (len(event) + 1) - 1
    items = [event] * count
    batch = b"[" + b",".join(items) + b"]" if kind == "array" else b"\n".join(items)

    status, content = service.post(batch, "/api/call-events/batch")

    assert (status, json.loads(content)) == (200, {"status": "queued", "accepted": count, "rejected": []})
    url = service.environment["INGEST_DATABASE_URL"]
    assert wait_until(lambda: count_rows(url) == count + 1, ROWS_SECONDS)
    assert peak_resident_bytes(worker) - before < GROWTH_MAX * BODY_BYTES

from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from ingest.errors import IngestError, Overloaded, Rejected, StoreError, Unforeseen
from ingest.telemetry.labels import REFUSAL_CODES
from ingest.telemetry.metrics import Metrics


def codes_below(error: type[IngestError]) -> Iterator[str]:
    yield error.code
    for kind in error.__subclasses__():
        yield from codes_below(kind)


def test_every_code_that_refuses_a_request_begins_at_zero(registry: CollectorRegistry, metrics: Metrics) -> None:
    kinds = (Rejected, Overloaded, StoreError, Unforeseen)
    codes = {code for error in kinds for code in codes_below(error)} - {Rejected.code}
    assert set(REFUSAL_CODES) == codes
    for code in codes:
        assert registry.get_sample_value("ingest_requests_refused_total", {"code": code}) == 0

from prometheus_client import CollectorRegistry

from bench.harness.null_metrics import null_metrics
from ingest.telemetry.metrics import Metrics


def test_nothing_of_the_metrics_is_missing() -> None:
    metrics, nothing = Metrics(CollectorRegistry()), null_metrics()

    public = {name for name in dir(metrics) if not name.startswith("_")}
    assert {name for name in public if not hasattr(nothing, name)} == set()
    nothing.answered("single", 401)
    nothing.count_refused("unauthenticated")

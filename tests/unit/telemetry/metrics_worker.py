"""A worker with metrics, for test_multiprocess.py: prints a line when they exist, and waits to be killed."""

import signal
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from ingest.telemetry.metrics import Metrics
from ingest.telemetry.multiprocess import MetricFiles


def main(folder: Path, worker_index: int, accepted: int) -> None:
    """Count `accepted` events. Print "succeeds" if a worker of this index has died, else "first"."""
    died = MetricFiles(folder).use_worker_index(worker_index)
    metrics = Metrics(CollectorRegistry())
    metrics.accepted.inc(accepted)
    metrics.workers.set(1)
    if accepted:
        metrics.backlog_events.set(accepted)
        metrics.database_up.set(1)
    print("succeeds" if died else "first", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

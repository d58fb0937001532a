"""`python -m bench.harness.service_without_metrics serve`: runs the service without its metrics and Granian's."""

import sys

from granian.constants import Interfaces

from bench.harness.null_metrics import null_metrics
from ingest.files.locks import take_worker_index
from ingest.server.app import build, metric_files
from ingest.server.application import IngestApplication
from ingest.server.granian import make_server
from ingest.settings import read_settings


def create() -> IngestApplication:
    settings = read_settings()
    worker_index = take_worker_index(settings.data_dir / "run")
    return build(settings, worker_index, null_metrics(), metric_files(settings))


if __name__ == "__main__":
    assert sys.argv[1:] == ["serve"], __doc__
    make_server("bench.harness.service_without_metrics:create", read_settings(), Interfaces.RSGI).serve()

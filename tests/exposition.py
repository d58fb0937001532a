"""Reads Prometheus's text format."""

from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.running import ServiceProcess

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and labels."""


class Exposition:
    """The samples of one scrape."""

    def __init__(self, text: bytes) -> None:
        families = text_string_to_metric_families(text.decode())
        self.samples: Mapping[Key, float] = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples.get((name, tuple(sorted(labels.items()))))

    def total(self, name: str) -> float:
        """Return the sum over all labels."""
        return sum(value for (sample, _), value in self.samples.items() if sample == name)

    def counters(self) -> dict[Key, float]:
        """Return the samples that must never decrease."""
        return {key: value for key, value in self.samples.items() if key[0].endswith(("_total", "_bucket", "_count"))}


def ask_metrics(service: ServiceProcess) -> tuple[int, bytes, Mapping[str, str]]:
    """Ask any worker for metrics that are made now, in place of those that the workers share for a second."""
    (Path(service.environment["INGEST_DATA_DIR"]) / "run" / "exposition").unlink(missing_ok=True)
    return service.request("GET", "/metrics")


def scrape(service: ServiceProcess) -> Exposition:
    """Scrape any worker, which answers for all workers."""
    status, text, headers = ask_metrics(service)
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return Exposition(text)

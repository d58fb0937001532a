"""Prometheus with the shipped rules, which watches nodes that come and go."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.observability import configuration
from tests.services import PrometheusServer, wait_until

SCRAPE_MS = 1000
JOB = "call-events"
FIRST_SECONDS = 60.0
State = tuple[str, str]
"""An alert's name, and `pending` or `firing`."""


class QuietWatch:
    def __init__(self, prometheus: PrometheusServer, targets: Path) -> None:
        self._prometheus = prometheus
        self._targets = targets

    def watch(self, *ports: int) -> None:
        """Watch these nodes from now on, and return when each was scraped."""
        write_targets(self._targets, ports)
        wanted = {f"127.0.0.1:{port}" for port in ports}

        def scraped() -> bool:
            return wanted <= {one["metric"]["instance"] for one in self._prometheus.query("ingest_workers")}

        assert wait_until(scraped, FIRST_SECONDS), f"Prometheus does not see {sorted(wanted)}"

    def states(self, seconds: float) -> set[State]:
        """Return what alerts were at any time of the last seconds."""
        found = self._prometheus.query(f"count_over_time(ALERTS[{int(seconds * 1000)}ms])")
        return {(one["metric"]["alertname"], one["metric"]["alertstate"]) for one in found}


def write_targets(file: Path, ports: Sequence[int]) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}" for port in ports]}]), "utf-8")
    draft.replace(file)


@contextmanager
def watching(folder: Path, rules: Sequence[Path], *ports: int) -> Iterator[QuietWatch]:
    """Run Prometheus for the block, with these rules. It scrapes the service only, not its servers."""
    targets = folder / "targets.json"
    write_targets(targets, ports)
    config = configuration()
    config["global"] = {"scrape_interval": f"{SCRAPE_MS}ms", "evaluation_interval": f"{SCRAPE_MS}ms"}
    config["rule_files"] = [str(file) for file in rules]
    config["scrape_configs"] = [{"job_name": JOB, "file_sd_configs": [{"files": [str(targets)]}]}]
    with PrometheusServer(str(yaml.safe_dump(config))) as prometheus:
        watch = QuietWatch(prometheus, targets)
        if ports:
            watch.watch(*ports)
        yield watch

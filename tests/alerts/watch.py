"""Prometheus with the alerts, which watches a service and its servers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.observability import FOLDER, RULE_FILES, configuration
from tests.services import PrometheusServer, free_port, wait_until

FIRING_SECONDS = 120.0
FIRST_SECONDS = 60.0
FIRING = 'ALERTS{alertstate="firing"}'


class Watch:
    """The firing alerts, and all alerts that have fired in the whole run (`fired`)."""

    def __init__(self, prometheus: PrometheusServer, fired: set[str]) -> None:
        self._prometheus = prometheus
        self._fired = fired

    def firing(self) -> set[str]:
        found = {one["metric"]["alertname"] for one in self._prometheus.query(FIRING)}
        self._fired |= found
        return found

    def wait_until_fired(self, *names: str) -> None:
        """Wait until each alert has fired; they need not fire at the same time."""
        left = set(names)

        def all_fired() -> bool:
            left.difference_update(self.firing())
            return not left

        assert wait_until(all_fired, FIRING_SECONDS), f"silent: {sorted(left)}; firing: {sorted(self.firing())}"

    def wait_until_silent(self, *names: str) -> None:
        wanted = set(names)
        assert wait_until(lambda: not wanted & self.firing(), FIRING_SECONDS), sorted(wanted & self.firing())

    def ever(self, window: str) -> set[str]:
        """Return alerts that were pending or firing at any time of the window."""
        return {one["metric"]["alertname"] for one in self._prometheus.query(f"count_over_time(ALERTS[{window}])")}


@contextmanager
def watching(ports: dict[str, int], rules: Sequence[Path], scrape_ms: int, fired: set[str]) -> Iterator[Watch]:
    """Run Prometheus. `ports` maps a job's name to its port; other jobs get a port without a server."""
    config = configuration()
    config["global"] = {"scrape_interval": f"{scrape_ms}ms", "evaluation_interval": f"{scrape_ms}ms"}
    config["rule_files"] = [str(file) for file in rules]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports.get(job['job_name']) or free_port()}"]}]
    with PrometheusServer(str(yaml.safe_dump(config))) as prometheus:
        # Prometheus searches for targets five seconds after its start.
        assert wait_until(lambda: len(prometheus.query("up == 1")) == len(ports), FIRST_SECONDS)
        yield Watch(prometheus, fired)


def rules_as_they_are() -> list[Path]:
    return [FOLDER / name for name in RULE_FILES]

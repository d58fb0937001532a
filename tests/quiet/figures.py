"""Compares the figures of `/status.json`, `ingest top` and `/metrics` with the sums over the workers' own files."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict

from tests.exposition import scrape
from tests.running import ServiceProcess
from tests.services import wait_until

FIGURES = {
    "workers.alive": "ingest_workers",
    "workers.wanted": "ingest_workers_wanted",
    "workers.restarts": "ingest_worker_restarts_total",
    "totals.accepted": "ingest_events_accepted_total",
    "totals.published": "ingest_events_published_total",
    "totals.refused": "ingest_requests_refused_total",
    "backlog.events": "ingest_backlog_events",
    "spool.events": "ingest_spool_events",
    "spool.bytes": "ingest_spool_bytes",
    "spool.bytes_max": "ingest_spool_bytes_max",
    "in_hand.queued": "ingest_queued_events",
    "in_hand.queued_max": "ingest_queued_events_max",
    "in_hand.unconfirmed": "ingest_publish_inflight_events",
}
"""Figure of `/status.json` → metric."""
ASKED = 6
"""Requests for the status: with two workers one of them answers all in 1 of 32 cases."""


def lasting_differences(service: ServiceProcess, seconds: float) -> list[str]:
    """Return the differences that are still there after these seconds. While events are on their way, figures move."""
    found: list[str] = []

    def same() -> bool:
        found[:] = differences(service)
        return not found

    wait_until(same, seconds)
    return found


def differences(service: ServiceProcess) -> list[str]:
    """Return each figure that differs between page, top, metrics and workers. Ask when no event is on its way."""
    wanted = of_workers(service)
    shown = {f"page, answer {number}": status(service) for number in range(ASKED)}
    shown["top --json"] = json.loads(top(service, "--json"))
    found = []
    for figure, metric in FIGURES.items():
        values = {place: value_at(one, figure) for place, one in shown.items()}
        values["/metrics"] = scrape(service).total(metric)
        found += [
            f"{figure}: {place} has {value}, the workers {wanted[metric]}"
            for place, value in values.items()
            if value != wanted[metric]
        ]
    return found + _missing_in_top(service, shown["top --json"])


def status(service: ServiceProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(service.request("GET", "/status.json")[1])
    return found


def top(service: ServiceProcess, *options: str) -> str:
    return service.command("top", "--url", f"http://127.0.0.1:{service.port}", *options).stdout


def value_at(found: Mapping[str, Any], figure: str) -> Any:
    group, name = figure.split(".")
    return found[group][name]


def of_workers(service: ServiceProcess) -> dict[str, float]:
    """Add up what each worker has written. A gauge of a worker that has ended does not count."""
    folder = Path(service.environment["INGEST_DATA_DIR"]) / "run" / "metrics"
    live = set(service.worker_pids())
    owners = {file.stem for file in folder.glob("*.pid") if int(file.read_text()) in live}
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for file in folder.glob("*.db"):
        kind, _, index = file.stem.removeprefix("gauge_").rpartition("_")
        if file.stem.startswith("gauge_live") and index not in owners:
            continue
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            values[kind][json.loads(key)[1]].append(value)
    combine = {"livemax": max, "livemin": min}
    return {name: combine.get(kind, sum)(found) for kind, named in values.items() for name, found in named.items()}


def _missing_in_top(service: ServiceProcess, found: Mapping[str, Any]) -> list[str]:
    """Return the parts of `ingest top` that are not as in `/status.json`."""
    in_hand, backlog = found["in_hand"], found["backlog"]["events"]
    screen = top(service, "--once")
    parts = [
        "unknown" if backlog is None else f"{backlog:,} events",
        f"{in_hand['queued']:,} wait for a commit, {in_hand['unconfirmed']:,} for a confirm",
        *(f"{name:<10}{text}" for name, text in found["checks"].items()),
        f"{'workers':<10}ok",
    ]
    return [f"top lacks {part!r}" for part in parts if part not in screen]
